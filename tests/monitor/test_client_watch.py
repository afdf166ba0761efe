"""``watch``: every event once and in order, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveobs.client import (
    AnswerError,
    AsyncClient,
    BadInputError,
    Client,
    NotFoundError,
    UnauthorizedError,
    UnreachableError,
)
from fiveobs.client._events import EventStream, Message
from fiveobs.client._reading import read
from fiveobs.client._watching import Watching
from fiveobs.client.answers import LogsAnswer
from tests.support import tracked_jobs
from tests.support.journals import line, write_segment
from tests.support.monitors import Monitor, monitor
from tests.support.ports import free_port
from tests.support.workers import until

STEM = "host-1-1767323045000000"
JOB = {"job_id": "job-1", "job_name": "resize", "attempt": 1, "worker_id": "w", "machine_id": "m"}
COMPLETED = {"status": "completed", "duration_s": 1.0}
FAILED = {"status": "failed", "duration_s": 1.0, "error": {"type": "E", "message": "no"}}


class Journal:
    """A worker's journal in a monitor's home, taken in as it grows."""

    def __init__(self, running: Monitor) -> None:
        self._running = running
        self._seq = 0
        self.ids: list[str] = []

    def say(self, *events: str, **fields: Any) -> None:
        """Write events of the job and have them taken in."""
        for event_type in events:
            self._seq += 1
            text = line(self._seq, event_type, **{**JOB, **fields})
            write_segment(self._running.home, STEM, 1, text)
            self.ids.append(json.loads(text)["id"])
        self._running.ingest()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Monitor]:
    with monitor(tmp_path / "home") as found:
        yield found


@pytest.fixture
def journal(running: Monitor) -> Journal:
    return Journal(running)


@pytest.fixture
def client(running: Monitor) -> Iterator[Client]:
    with Client(running.url, running.token) as found:
        yield found


@contextmanager
def cutting(url: str, *, after_bytes: int) -> Iterator[str]:
    """A way to the monitor that breaks each connection after so many bytes of its answer."""
    there = urlsplit(url)
    listener = socket.create_server(("127.0.0.1", 0))

    def pass_on(near: socket.socket) -> None:
        with near, socket.create_connection((there.hostname, there.port)) as far:
            far.sendall(near.recv(65_536))
            left = after_bytes
            while left and (data := far.recv(min(left, 4_096))):
                near.sendall(data)
                left -= len(data)

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=pass_on, args=(near,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


# --- against a real monitor --------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
def test_a_subscription_is_watched(client: Client, journal: Journal, is_async: bool) -> None:
    """What it is for, in its steps, from when it was made; both clients can."""
    journal.say("job.started")
    made = client.subscribe(
        events=["progressUpdate", "jobCompleted"], job_id="job-1", min_progress_increment=10
    )
    for percent in (10, 15, 20):
        journal.say("job.progress", data={"percent": percent})
    journal.say("job.completed", data=COMPLETED)

    async def asked() -> list[Any]:
        place = client._place
        async with (
            AsyncClient(place.url, place.token) as other,
            other.watch(subscription_id=made.subscription_id) as watch,
        ):
            return [await anext(watch) for _ in range(3)]

    if is_async:
        events = asyncio.run(asked())
    else:
        with client.watch(subscription_id=made.subscription_id) as watch:
            events = [next(watch) for _ in range(3)]
    assert [event.data.get("percent") for event in events] == [10, 20, None]


def test_a_restored_monitor_is_watched_from_now_on(
    client: Client, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """A place that it does not have yet is said to be unknown, and the watch goes on."""
    journal.say("job.started")
    with client.watch(after="4711", types="job.milestone") as watch:
        events: list[Any] = []
        told = threading.Thread(target=lambda: events.append(next(watch)), daemon=True)
        told.start()
        until(lambda: "restored from a backup" in caplog.text, what="the warning")

        def happened() -> bool:
            """Once more: nobody knows when the second connection is there."""
            journal.say("job.milestone")
            return bool(events)

        until(happened, what="an event")
    assert events[0].id in journal.ids


def test_a_job_that_has_ended_is_given_whole(client: Client, journal: Journal) -> None:
    """From its first event to its last; then the watch ends."""
    journal.say("job.started", "job.milestone")
    journal.say("job.completed", data=COMPLETED)
    with client.watch("job-1") as watch:
        events = list(watch)
    assert [event.id for event in events] == journal.ids
    assert [event.event_type for event in events][::2] == ["job.started", "job.completed"]
    assert watch.is_over
    assert list(watch) == []


def test_the_async_watch_gives_the_same(running: Monitor, journal: Journal) -> None:
    """`AsyncClient.watch` gives what `Client.watch` gives, and ends as it does."""
    journal.say("job.started")
    journal.say("job.completed", data=COMPLETED)

    async def watched() -> list[str]:
        asking = AsyncClient(running.url, running.token)
        async with asking, asking.watch("job-1") as watch:
            return [event.id async for event in watch]

    assert asyncio.run(watched()) == journal.ids


def test_events_come_as_they_happen(client: Client, journal: Journal) -> None:
    """An event is given when it is in the store, before the next one is written."""
    journal.say("job.started")
    with client.watch("job-1") as watch:
        assert next(watch).event_type == "job.started"
        for number in range(3):
            journal.say("job.milestone", message=f"number {number}")
            assert next(watch).message == f"number {number}"
        journal.say("job.completed", data=COMPLETED)
        assert next(watch).data["status"] == "completed"
        with pytest.raises(StopIteration):
            next(watch)


def test_a_project_is_watched_from_now_on(client: Client, journal: Journal) -> None:
    """Without a job there is no end, and what was before is left out unless asked for."""
    journal.say("job.started")
    with client.watch(from_start=True) as whole:
        assert next(whole).id == journal.ids[0]
    with client.watch() as watch:
        later = threading.Timer(0.5, journal.say, ["job.milestone"])
        later.start()
        assert next(watch).event_type == "job.milestone"
        later.join()
        journal.say("job.completed", data=COMPLETED)
        assert next(watch).event_type == "job.completed"
        assert not watch.is_over


def test_a_watch_goes_on_after_a_place(client: Client, journal: Journal) -> None:
    """With the last event's id of an earlier watch nothing is given twice."""
    journal.say("job.started", "job.milestone")
    journal.say("job.completed", data=COMPLETED)
    with client.watch("job-1") as earlier:
        assert next(earlier).id == journal.ids[0]
        place = earlier.last_event_id
    assert [event.id for event in client.watch("job-1", after=place)] == journal.ids[1:]


def test_only_what_is_wanted_is_given(client: Client, journal: Journal) -> None:
    """Types and levels choose; the job's end ends the watch even where it is not wanted."""
    journal.say("job.started", "job.milestone")
    journal.say("log", level="warning", message="careful")
    journal.say("job.completed", data=COMPLETED)
    chosen = client.watch("job-1", types=["job.mile*"])
    assert [event.event_type for event in chosen] == ["job.milestone"]
    assert [event.message for event in client.watch("job-1", level="WARN")] == ["careful"]
    whole = client.watch(types="log", from_start=True, level="WARN", job_names=["resize"])
    with whole:
        assert next(whole).message == "careful"


def test_a_job_that_is_tried_again_is_watched_to_its_last_end(
    client: Client, journal: Journal
) -> None:
    """The end of an attempt that others follow is not the end of the job."""
    journal.say("job.started")
    journal.say("job.failed", data=FAILED)
    journal.say("job.retrying", data={"reason": "no"})
    journal.say("job.started", attempt=2)
    journal.say("job.completed", attempt=2, data=COMPLETED)
    assert [event.id for event in client.watch("job-1")] == journal.ids


@pytest.mark.parametrize("after_bytes", [1_700, 2_900])
def test_broken_connections_lose_and_repeat_nothing(
    running: Monitor, journal: Journal, after_bytes: int
) -> None:
    """Wherever a connection breaks, in the middle of an event too, each event comes once."""
    journal.say("job.started", "job.milestone", "job.milestone")
    journal.say("job.completed", data=COMPLETED)
    with (
        cutting(running.url, after_bytes=after_bytes) as url,
        Client(url, running.token) as client,
    ):
        # A connection must get through at least one event, or there is no way forward.
        watch = client.watch("job-1", patience_s=20)
        got = [next(watch).id for _ in journal.ids]
        watch.close()
    assert got == journal.ids


def test_a_monitor_that_comes_back_is_gone_on_with(tmp_path: Path) -> None:
    """A watch outlives the monitor's restart, and gets what came meanwhile."""
    port = free_port()
    with monitor(tmp_path, port=port) as first:
        journal = Journal(first)
        journal.say("job.started")
        client = Client(first.url, first.token)
        watch = client.watch("job-1")
        got = [next(watch).id]
    with closing(client), monitor(tmp_path, port=port) as second:
        journal._running = second
        journal.say("job.milestone")
        journal.say("job.completed", data=COMPLETED)
        got += [event.id for event in watch]
    assert got == journal.ids


def test_a_monitor_that_stays_away_is_given_up(tmp_path: Path) -> None:
    """After ``patience_s`` the watch says that nothing answers; both clients do."""
    with monitor(tmp_path) as found:
        Journal(found).say("job.started")
        client = Client(found.url, found.token)
        watch = client.watch("job-1", patience_s=0.1)
        next(watch)
    with closing(client), pytest.raises(UnreachableError, match="fiveobs serve"):
        next(watch)

    async def watched() -> None:
        async with AsyncClient(found.url, found.token) as asking:
            await anext(asking.watch("job-1", patience_s=0.1))

    with pytest.raises(UnreachableError):
        asyncio.run(watched())


def test_a_refusal_is_not_tried_again(client: Client, running: Monitor) -> None:
    """An unknown job and a bad token end the watch at once, with what the monitor says."""
    tracked_jobs.write(running.home)
    running.ingest()
    with pytest.raises(NotFoundError, match="'nobody'"):
        next(client.watch("nobody"))
    with Client(running.url, "fiveobs_0_wrong") as stranger, pytest.raises(UnauthorizedError):
        next(stranger.watch())


# --- what a watch makes of what comes ----------------------------------------------------------


def cloudevent(event_type: str, **fields: Any) -> str:
    record = {"event_type": event_type, "level": "info", **JOB, **fields}
    return json.dumps({"specversion": "1.0", "data": record})


def messages(*parts: str) -> bytes:
    return "".join(f"id: {at}\ndata: {part}\n\n" for at, part in enumerate(parts, 1)).encode()


def logs_answer(status: str, **newest: Any) -> LogsAnswer:
    at = "2026-01-01T00:00:00Z"
    entry = {"timestamp": at, "level": "INFO", "component": None, "stage": None, "message": ""}
    entry |= {"details": {}, "eventType": "job.completed", "eventId": "1", "attempt": 1, **newest}
    counts = dict.fromkeys(("total", "debug", "info", "warn", "error"), 1)
    summary = {f"{name}Entries": count for name, count in counts.items()}
    names = ("currentStage", "stageProgress", "overallProgress", "processingRate", "memoryUsage")
    names += ("processingRatePerSecond", "memoryUsageBytes", "cpuUsage", "estimatedCompletion")
    return read(
        LogsAnswer,
        {
            "jobId": "job-1",
            "jobName": "resize",
            "jobStatus": status,
            "logsSummary": {**summary, "timeRange": {"startTime": at, "endTime": at}},
            "logs": [entry],
            "executionMetrics": dict.fromkeys(names),
        },
    )


@pytest.mark.parametrize(
    ("status", "newest", "is_over"),
    [
        ("Completed", {}, True),
        ("Lost", {}, True),
        ("Running", {"attempt": 2, "eventType": "job.started"}, False),
        ("Completed", {"attempt": 2}, False),
        ("Failed", {"eventType": "job.retrying"}, False),
    ],
)
def test_an_end_is_the_end_if_nothing_follows(
    status: str, newest: dict[str, Any], is_over: bool
) -> None:
    """After an end the monitor is asked whether a later attempt is known."""
    state = Watching("job-1", {})
    assert state.question() is None
    assert len(list(state.take(messages(cloudevent("job.completed"))))) == 1
    assert state.question() is not None
    state.answered(logs_answer(status, **newest))
    assert state.is_over is is_over


def test_silence_after_the_end_is_understood() -> None:
    """A watch that begins behind the job's end learns from the sign of life that it is over."""
    state = Watching("job-1", {"after": "7"})
    assert list(state.take(b": alive\nid: 7\n\n")) == []
    assert state.question() is not None
    state.answered(logs_answer("Completed"))
    assert state.is_over


def test_a_project_is_never_asked_whether_it_has_ended() -> None:
    """Signs of life and ends of jobs mean nothing to a watch of all of them."""
    state = Watching(None, {})
    list(state.take(b": alive\n\n" + messages(cloudevent("job.completed"))))
    assert state.question() is None


def test_the_place_is_that_of_the_last_event_given_out() -> None:
    """What is in the buffer and was not given yet will be asked for again."""
    state = Watching(None, {"after": "0"})
    taken = state.take(messages(cloudevent("job.started"), cloudevent("job.milestone")))
    next(taken)
    assert state.headers()["Last-Event-ID"] == "1"
    next(taken)
    assert state.headers()["Last-Event-ID"] == "2"


@pytest.mark.parametrize("data", ["text", "{}", '{"data": 1}', "[]", "null"])
def test_what_is_no_event_is_an_error(data: str) -> None:
    """Another program's stream is refused, not passed over."""
    with pytest.raises(AnswerError, match="no event"):
        list(Watching(None, {}).take(messages(data)))


def test_pauses_grow_and_heed_the_monitor() -> None:
    """Each try waits longer, up to 15 s, and never less than the monitor asked for."""
    state = Watching(None, {"patience_s": 1e9})
    gone = UnreachableError("gone")
    pauses_s = [state.lost(gone, 0.0) for _ in range(10)]
    assert 0.5 <= pauses_s[0] <= 1.0
    assert all(7.5 <= pause_s <= 15.0 for pause_s in pauses_s[5:])
    list(state.take(b"retry: 20000\n\n"))
    assert state.lost(gone, 0.0) == 20.0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"colour": "red"}, "no option 'colour'"),
        ({"level": "loud"}, "'loud'"),
        ({"subscription_id": "sub-1", "types": "job.*"}, "leave out types"),
        ({"subscription_id": ".."}, "no subscription id"),
    ],
)
def test_unknown_options_are_refused(options: Any, text: str) -> None:
    """The message names what is not known."""
    with pytest.raises(BadInputError, match=text):
        Watching(None, options)


# --- server-sent events ------------------------------------------------------------------------

LINES = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)), max_size=8)


@given(
    data=st.lists(st.lists(LINES, min_size=1, max_size=3), max_size=4),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_messages_are_whole_however_they_are_cut(
    data: list[list[str]], end: str, cuts: list[int]
) -> None:
    """Chunks of any size give the same messages, with any line end, and any text inside."""
    sent = "".join(
        f"id: {at}{end}" + "".join(f"data: {line}{end}" for line in lines) + end
        for at, lines in enumerate(data)
    ).encode()
    places = sorted({0, len(sent), *(cut % (len(sent) + 1) for cut in cuts)})
    stream = EventStream()
    got = [message for start, stop in pairwise(places) for message in stream.feed(sent[start:stop])]
    assert got == [Message("message", "\n".join(lines)) for lines in data]
    assert stream.last_event_id == (str(len(data) - 1) if data else "")


def test_the_rest_of_the_format_is_understood() -> None:
    """Comments, names, waiting times, fields without a value and unknown ones."""
    stream = EventStream("5")
    sent = b": hello\nevent: note\nretry: 1500\nretry: x\nid\ndata\ndata:b\nfoo: bar\n\n"
    assert list(stream.feed(sent)) == [Message("note", "\nb")]
    assert (stream.last_event_id, stream.retry_s, stream.has_comment) == ("", 1.5, True)
    assert list(stream.feed(b"id: 9\n\n")) == []
    assert stream.last_event_id == "9"
