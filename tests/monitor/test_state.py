"""State over HTTP: compared and set, watched through cut connections, and followed by real jobs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from fiveobs.client import (
    AsyncClient,
    BadInputError,
    BadRequestError,
    Client,
    ConflictError,
    ForbiddenError,
    GoneError,
    NotFoundError,
    VersionError,
)
from fiveobs.monitor.store import coordinating
from tests.monitor.test_client_watch import cutting
from tests.support.asgi import ask
from tests.support.coordinated import House, make_project
from tests.support.monitors import Monitor, monitor, serve
from tests.support.workers import until

ROOT = Path(__file__).parents[2]
BASE = "/api/default/default/execution/state"
TIMEOUT_S = 60


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Monitor]:
    with monitor(tmp_path / "home") as found:
        make_project(found.store)
        yield found


@pytest.fixture
def client(running: Monitor) -> Iterator[Client]:
    with Client(running.url, running.token) as found:
        yield found


@pytest.fixture
def house(running: Monitor) -> House:
    return House(running.store, running.home)


def put(running: Monitor, path: str, body: Any, role: str = "operator", **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given["content-type"] = "application/json"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    token = running.token_of(role)
    return ask(running.app, "PUT", f"{BASE}/{path}", token=token, headers=given, body=content)


# --- compare and set ---------------------------------------------------------------------------


def test_a_document_is_shared_by_comparing_and_setting(client: Client) -> None:
    """Who has the newest version wins; who has not learns which there is, and tries again."""
    made = client.set_state("document", "a/leader", {"owner": "x"}, is_new=True)
    assert (made.version, made.value) == (1, {"owner": "x"})
    with pytest.raises(VersionError, match="version 1") as refused:
        client.set_state("document", "a/leader", {"owner": "y"}, is_new=True)
    assert refused.value.version == 1
    changed = client.set_state("document", "a/leader", {"owner": "y"}, version=1, reason="x died")
    assert client.state("document", "a/leader") == changed
    with pytest.raises(VersionError):
        client.remove_state("document", "a/leader", version=1)
    assert client.remove_state("document", "a/leader").is_over
    with pytest.raises(NotFoundError):
        client.state("document", "a/leader")
    reasons = [(each.action, each.reason) for each in client.audit("a/leader").entries]
    assert reasons == [("state.removed", None), ("state.set", "x died"), ("state.set", None)]


def test_the_header_is_the_version(running: Monitor) -> None:
    """``ETag`` in, ``If-Match`` out; without either, or with what is none, nothing is set."""
    made = put(running, "document/d", {"value": {}}, If_None_Match="*")
    assert (made.status, made.headers["etag"]) == (200, '"1"')
    assert put(running, "document/d", {"value": {}}).status == 428
    refused = put(running, "document/d", {"value": {}}, If_Match='"9"')
    assert (refused.status, refused.headers["etag"], refused.content["version"]) == (412, '"1"', 1)
    for wrong in ('W/"1"', "1", '"0"', '"1", "2"', '"x"'):
        assert put(running, "document/d", {"value": {}}, If_Match=wrong).status == 422
    both = put(running, "document/d", {"value": {}}, If_Match='"1"', If_None_Match="*")
    assert both.status == 422
    assert put(running, "document/d", {"value": {}}, "viewer", If_Match='"1"').status == 403


@pytest.mark.parametrize(
    "body",
    [
        b'{"value": {"a": "\\ud800"}}',
        b'{"value": {"a": %d}}' % 10**30,
        json.dumps({"value": {"a": "x" * 65_536}}).encode(),
        b'{"value": ' + b'{"a":' * 300 + b"1" + b"}" * 301,
        b'{"value": 7}',
        b'{"values": {}}',
    ],
)
def test_a_value_that_cannot_be_kept_is_refused(running: Monitor, body: bytes) -> None:
    """Text that is none, numbers beyond 64 bits, what is too large, too deep, or no object."""
    assert put(running, "document/d", body, If_None_Match="*").status in (400, 413, 422)


def test_only_documents_are_made(client: Client, house: House) -> None:
    """Of a job a status is desired, of the others anything; what is not there is not found."""
    house.worker().job("7", "job.started")
    house.look()
    with pytest.raises(NotFoundError):
        client.set_state("service", "other", {"replicas": 3}, is_new=True)
    with pytest.raises(NotFoundError):
        client.set_state("job", "8", {"status": "paused"})
    with pytest.raises(BadRequestError, match="running, paused or stopped"):
        client.set_state("job", "7", {"status": "quick"})
    scaled = client.set_state("service", "mining", {"replicas": 3}, version=1)
    assert scaled.desired is not None
    assert (scaled.desired.value, scaled.desired.by) == ({"replicas": 3}, "test")
    assert scaled.observed is not None
    assert scaled.observed.workers == ("w1",)
    for arguments in ({"version": 0}, {"version": 1, "is_new": True}):
        with pytest.raises(BadInputError):
            client.set_state("job", "7", {}, **arguments)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="use document, job"):
        client.state("jobs", "7")


def test_a_completed_job_is_left_alone(client: Client, house: House) -> None:
    """Nothing can be desired of it."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    worker.job("7", "job.completed", data={"status": "completed"})
    house.look(5.0)
    with pytest.raises(ConflictError, match="completed"):
        client.set_state("job", "7", {"status": "paused"})


def test_states_are_listed(client: Client, house: House) -> None:
    """By kind and health, a page at a time; a project sees its own."""
    for each in ("w1", "w2", "w3"):
        house.worker(each).job(f"of-{each}", "job.started")
    house.look()
    found: list[str] = []
    page = client.states("worker", limit=2)
    found += [each.id for each in page.states]
    page = client.states("worker", limit=2, cursor=page.next)
    found += [each.id for each in page.states]
    assert (found, page.next) == (["w1", "w2", "w3"], None)
    assert [each.id for each in client.states(health="alive").states] == ["w1", "w2", "w3"]
    assert client.states("job", health="lost").states == ()
    with pytest.raises(BadRequestError, match="cursor"):
        client.states(cursor="x")


def test_every_project_has_its_own(running: Monitor) -> None:
    """The same name in another project is another document; a token of one sees no other."""
    make_project(running.store, "acme", "x")
    with Client(running.url, running.token, tenant_id="acme", project_id="x") as other:
        other.set_state("document", "d", {"of": "acme"}, is_new=True)
        token = running.token_of("viewer", tenant_id="default")
        with Client(running.url, token) as mine:
            with pytest.raises(NotFoundError):
                mine.state("document", "d")
            with pytest.raises(ForbiddenError):
                mine.set_state("document", "d", {}, is_new=True)
            assert mine.states().states == ()


def test_racing_clients_lose_nothing(running: Monitor) -> None:
    """The sum of what clients add by comparing and setting is what they added."""
    with Client(running.url, running.token) as client:
        client.set_state("document", "sum", {"n": 0}, is_new=True)

        def add() -> None:
            for _ in range(5):
                while True:
                    now = client.state("document", "sum")
                    value = {"n": (now.value or {})["n"] + 1}
                    with contextlib.suppress(VersionError):
                        client.set_state("document", "sum", value, version=now.version)
                        break

        threads = [threading.Thread(target=add) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(TIMEOUT_S)
        done = client.state("document", "sum")
    assert (done.value, done.version) == ({"n": 20}, 21)


# --- watching ----------------------------------------------------------------------------------


def test_a_watch_begins_with_all_there_is(client: Client) -> None:
    """Each state once, then that this was all, then what changes."""
    for number in range(3):
        client.set_state("document", f"d{number}", {"n": number}, is_new=True)
    client.set_state("document", "d0", {"n": 7})
    with client.watch_states() as watch:
        found = [next(watch) for _ in range(3)]
        assert [(each.id, each.version) for each in found] == [("d1", 1), ("d2", 1), ("d0", 2)]
        client.remove_state("document", "d1")
        removed = next(watch)
        assert watch.is_synced
        assert (removed.id, removed.is_over, removed.value) == ("d1", True, None)
        assert watch.last_event_id == str(removed.change)


def test_a_watch_may_begin_now_and_take_some_kinds(client: Client, house: House) -> None:
    """What was there, and what is of another kind, is left out."""
    client.set_state("document", "old", {}, is_new=True)
    with client.watch_states(kinds="document", from_now=True) as watch:
        found: list[Any] = []
        taking = threading.Thread(target=lambda: found.append(next(watch)), daemon=True)
        taking.start()
        until(lambda: watch.is_synced, what="the beginning of the watch")
        house.worker()
        house.look()
        client.set_state("document", "new", {}, is_new=True)
        taking.join(TIMEOUT_S)
    assert [each.id for each in found] == ["new"]


def test_no_change_is_lost_through_cut_connections(running: Monitor) -> None:
    """Each of 60 documents arrives with its last version, in order, over many connections."""
    count, versions = 60, 3
    with (
        Client(running.url, running.token) as client,
        cutting(running.url, after_bytes=4_000) as cut,
        Client(cut, running.token) as through,
    ):

        def write() -> None:
            for number in range(count):
                for version in range(versions):
                    name = f"d{number:02d}"
                    client.set_state("document", name, {"n": version}, is_new=version == 0)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        last: dict[str, int] = {}
        changes: list[int] = []
        with through.watch_states() as watch:
            while last.get(f"d{count - 1:02d}") != versions:
                found = next(watch)
                assert found.version > last.get(found.id, 0)
                last[found.id] = found.version
                changes.append(found.change)
        writer.join(TIMEOUT_S)
    assert last == {f"d{number:02d}": versions for number in range(count)}
    assert changes == sorted(set(changes))


def test_what_changed_while_nobody_watched_is_given(running: Monitor, client: Client) -> None:
    """Each watch goes on where the one before ended, of whichever project that was."""
    make_project(running.store, "acme", "x")
    with Client(running.url, running.token, tenant_id="acme", project_id="x") as other:
        place = ""
        for number in range(1, 4):
            mine = client.set_state("document", "d", {"n": number}, is_new=number == 1)
            other.set_state("document", f"e{number}", {}, is_new=True)
            with client.watch_states(after=place) as watch:
                assert next(watch).version == mine.version
                place = watch.last_event_id
            until(lambda: not running.app.state.feed.is_watched, what="the end of the watch")


def test_the_async_client_watches_too(running: Monitor) -> None:
    """The same states in the same order."""

    async def watched() -> list[str]:
        async with AsyncClient(running.url, running.token) as client:
            await client.set_state("document", "a", {}, is_new=True)
            await client.set_state("document", "b", {}, is_new=True)
            async with client.watch_states() as watch:
                found = [(await anext(watch)).id for _ in range(2)]
                await client.set_state("document", "a", {}, version=1)
                assert (await anext(watch)).version == 2
                assert watch.is_synced
                return found

    assert asyncio.run(watched()) == ["a", "b"]


def test_a_place_that_is_too_old_is_said_to_be(client: Client, running: Monitor) -> None:
    """Whoever may have missed something is told to begin anew; one that is none is refused."""
    for name in ("a", "b", "c"):
        client.set_state("document", name, {}, is_new=True)
    removed = client.remove_state("document", "b")
    with running.store.writing() as connection:
        coordinating.drop_over(connection, 2**62, 9)
    with client.watch_states(after="3") as watch, pytest.raises(GoneError, match="begin without"):
        next(watch)
    with client.watch_states() as watch:
        assert [next(watch).id for _ in range(2)] == ["a", "c"]
    client.set_state("document", "d", {}, is_new=True)
    with client.watch_states(after=str(removed.change)) as watch:
        assert next(watch).id == "d"
    with pytest.raises(BadInputError, match="no option"):
        client.watch_states(from_start=True)  # type: ignore[call-arg]


def test_a_restored_monitor_is_watched_anew(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A place that it does not have yet is said to be unknown, and everything is given again."""
    client.set_state("document", "a", {}, is_new=True)
    with client.watch_states(after="4711") as watch:
        assert next(watch).id == "a"
    assert "restored from a backup" in caplog.text


# --- jobs follow -------------------------------------------------------------------------------

WORKER = """
import sys
from fiveobs import observe_job
with observe_job("long", service="steps", job_id="7") as job:
    print("up", flush=True)
    for line in sys.stdin:
        job.checkpoint()
        print("passed", flush=True)
"""


class Process:
    """A worker whose job passes a checkpoint for each line that it is sent; a context manager."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=ROOT,
            env={**os.environ, "FIVEOBS_HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        self.said: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        until(lambda: "up" in self.said, timeout_s=TIMEOUT_S, what="the job's beginning")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end(signal.SIGKILL)
        self._listener.join(TIMEOUT_S)
        with contextlib.suppress(BrokenPipeError):
            self._in.close()
        self._out.close()

    def _listen(self) -> None:
        for line in self._out:
            self.said.append(line.strip())

    def step(self) -> None:
        self._in.write("\n")
        self._in.flush()

    def end(self, sign: signal.Signals) -> None:
        self.process.send_signal(sign)
        self.process.wait(TIMEOUT_S)

    def complete(self) -> None:
        """Let the job go on to its end."""
        self._in.close()
        assert self.process.wait(TIMEOUT_S) == 0


def wait_for(client: Client, status: str, *, not_run: str | None = None) -> str:
    """Wait until the job has a status, in another run than that; which run it is."""

    def run() -> str | None:
        with contextlib.suppress(NotFoundError):
            observed = client.state("job", "7").observed
            if observed is not None and observed.status == status and observed.run_id != not_run:
                return observed.run_id
        return None

    return until(run, timeout_s=TIMEOUT_S, what=f"a job that is {status}")


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_paused_job_whose_worker_restarted_is_still_paused(
    tmp_path: Path, sign: signal.Signals
) -> None:
    """Its next run waits at its first checkpoint without being asked again, until it is resumed."""
    home = tmp_path / "home"
    token = home / "monitor" / "token"
    with serve(home) as url, Client(url, token.read_text().strip()) as client:
        with Process(home) as first:
            wait_for(client, "running")
            client.pause("7", reason="lunch")
            first.step()
            run = wait_for(client, "paused")
            # It holds for runs to come as soon as the monitor has seen that it was followed.
            until(lambda: _stands(home), timeout_s=TIMEOUT_S, what="the request that stands")
            first.end(sign)
        with Process(home) as second:
            second.step()
            wait_for(client, "paused", not_run=run)
            assert second.said == ["up"]
            desired = client.state("job", "7").desired
            assert desired is not None
            assert (desired.value, desired.reason) == ({"status": "paused"}, "lunch")
            trail = [each for each in client.audit("7").entries if each.action == "job.pause"]
            assert [each.reason for each in trail] == ["lunch"]
            client.resume("7")
            until(lambda: "passed" in second.said, timeout_s=TIMEOUT_S, what="the job to go on")
            second.complete()
            wait_for(client, "completed")
            assert client.state("job", "7").desired is None


def _stands(home: Path) -> bool:
    found = [json.loads(path.read_bytes()) for path in (home / "control").glob("*.json")]
    return any(each["notes"].get("standing") for each in found)
