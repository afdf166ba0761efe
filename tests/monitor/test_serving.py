"""``fiveobs serve`` as a real process: starts, takes jobs in, answers, ends in good order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from fiveobs.client import Client
from fiveobs.monitor.access import create_token
from fiveobs.monitor.api.app import create_app
from fiveobs.monitor.figures import Figures
from fiveobs.monitor.heads import PromptProtocol
from fiveobs.monitor.settings import load_settings
from fiveobs.monitor.store.engine import Store, default_url, open_store
from fiveobs.monitor.watching import IngestWatch, watch_store
from tests.support.counting import instructions_of
from tests.support.journals import line, write_segment
from tests.support.monitors import serving_app
from tests.support.serving import serving
from tests.support.workers import until

JOB = """
import fiveobs

@fiveobs.observe_job("thumbnails")
def work():
    fiveobs.current_job().log.info("hello")

work()
"""
BATCH = "/api/default/default/execution/tracking/batch"


def run_job() -> None:
    """One job in a process of its own."""
    subprocess.run([sys.executable, "-c", JOB], check=True, timeout=30, env=os.environ)


def test_a_job_of_another_process_is_answered_for_soon() -> None:
    """From the end of the worker's process until the job is in the answer."""
    with serving() as monitor:
        run_job()
        started_at = time.monotonic()
        until(lambda: monitor.get(BATCH).status_code == 200, what="the project's first job")
        answer = until(lambda: monitor.get(BATCH).json()["jobs"], what="the job")
        # The deadline is generous because the machine may be busy; usually it takes 0.2 s.
        assert time.monotonic() - started_at < 10.0
        assert answer[0]["jobName"] == "thumbnails"
        assert monitor.get("/readyz").status_code == 200
        text = monitor.get("/metrics").text
        assert 'fiveobs_monitor_service_up{service="ingest"} 1' in text
        assert "fiveobs_monitor_events_total" in text
        assert monitor.stop() == 0
        assert "Traceback" not in monitor.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_time_while_a_stream_is_open(number: int) -> None:
    """A stream has no end of its own: it is ended, and the client's connection is closed."""
    with serving(FIVEOBS_MONITOR_STOP_TIMEOUT="6s") as monitor:
        run_job()
        until(lambda: monitor.get(BATCH).status_code == 200, what="the project")
        url = f"{monitor.url}/api/default/default/execution/events"
        headers = {"Authorization": f"Bearer {monitor.token}"}
        with httpx.stream("GET", url, headers=headers, timeout=20.0) as stream:
            assert stream.status_code == 200
            started_at = time.monotonic()
            assert monitor.stop(number) == 0
            assert time.monotonic() - started_at < 6.0
            assert list(stream.iter_raw()) is not None
        assert "Traceback" not in monitor.said
        assert "did not end" not in monitor.said


def test_the_first_token_is_shown_once(fiveobs_home: Path) -> None:
    """It is an admin's; a second start makes none, and the file with it is this user's alone."""
    file = fiveobs_home / "monitor" / "token"
    with serving() as monitor:
        token = monitor.token
        assert token is not None
        assert monitor.get(BATCH).status_code in (200, 404)
        assert file.read_text().strip() == token
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert monitor.stop() == 0
    with serving() as monitor:
        assert monitor.token is None
        assert token not in monitor.said
        assert monitor.get(BATCH, token).status_code in (200, 404)
        assert monitor.get(BATCH).status_code == 401


def test_its_address_is_in_the_home_while_it_runs(fiveobs_home: Path) -> None:
    """Whatever its port, a client finds it; and once it has ended, nothing sends the token."""
    file = fiveobs_home / "monitor" / "url"
    with serving() as monitor:
        run_job()
        assert file.read_text().strip() == monitor.url
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with Client() as client:
            until(lambda: monitor.get(BATCH).status_code == 200, what="the project")
            assert client.jobs() is not None
        assert monitor.stop() == 0
    assert not file.exists()


def test_another_store_leaves_the_homes_token_alone(fiveobs_home: Path, tmp_path: Path) -> None:
    """What is in the home belongs to the home's own store; another one's token is only printed."""
    with serving() as monitor:
        token = monitor.token
        assert monitor.stop() == 0
    with serving("--store-url", f"sqlite:///{tmp_path / 'other.sqlite3'}") as monitor:
        assert monitor.token not in (None, token)
        assert "finds both" not in monitor.said
        assert not (fiveobs_home / "monitor" / "url").exists()
    assert (fiveobs_home / "monitor" / "token").read_text().strip() == token


def test_a_second_monitor_of_one_file_is_refused(fiveobs_home: Path, tmp_path: Path) -> None:
    """It names the file and the process; a link to the file does not help; a kill frees it."""
    store = fiveobs_home / "monitor" / "store.sqlite3"
    link = tmp_path / "link.sqlite3"
    with serving() as first:
        link.symlink_to(store)
        for arguments in ((), ("--store-url", f"sqlite:///{link}")):
            with serving(*arguments, ready=False) as second:
                assert second.process.wait(timeout=30) == 2
                until(lambda: "PostgreSQL" in second.said, what="the error")
                assert f"{store} is served by another monitor" in second.said
                assert f"process {first.process.pid}" in second.said
                assert "Traceback" not in second.said
        assert first.get("/healthz").status_code == 200
        first.process.kill()
    with serving() as third:
        assert third.get("/readyz").status_code == 200


def test_the_store_is_this_users_alone(fiveobs_home: Path) -> None:
    """It holds what webhooks are signed with: no one else may read it, whatever the umask."""
    before = os.umask(0)
    try:
        with serving() as monitor:
            run_job()
            until(lambda: monitor.get(BATCH).status_code == 200, what="the project")
            files = sorted((fiveobs_home / "monitor").glob("store.sqlite3*"))
            modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in files}
    finally:
        os.umask(before)
    assert set(modes.values()) == {"0o600"}
    assert {"store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm"} <= modes.keys()


def test_a_port_in_use_is_said_to_be_so() -> None:
    """The error says which, and what to do; nothing is left behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with serving("--port", port, ready=False) as monitor:
            assert monitor.process.wait(timeout=30) == 2
            until(lambda: "--port" in monitor.said, what="the error")
            assert f"127.0.0.1:{port} is in use" in monitor.said
            assert "Traceback" not in monitor.said


def test_it_goes_on_after_a_kill() -> None:
    """Killed and started again, it has the job once, and answers with the same token."""
    with serving() as monitor:
        token = monitor.token
        run_job()
        until(lambda: monitor.get(BATCH).status_code == 200, what="the project")
        monitor.process.kill()
    with serving() as monitor:
        answer = monitor.get(BATCH, token).json()
        assert [job["jobName"] for job in answer["jobs"]] == ["thumbnails"]


WHOLE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Prompt(PromptProtocol):
    """With less patience."""

    head_timeout_s = 0.3


@pytest.mark.parametrize(
    ("asked", "is_second"), [(b"", False), (WHOLE[:-4], False), (WHOLE[:-4], True)]
)
def test_half_a_request_is_not_waited_for(
    fiveobs_home: Path, *, asked: bytes, is_second: bool
) -> None:
    """A connection without a whole head is closed, the first request's and a later one's."""
    config = load_settings({}, home=str(fiveobs_home))
    store = open_store(config.store_url)
    with (
        serving_app(create_app(store, config), http=Prompt) as address,
        socket.create_connection(address, timeout=10) as client,
    ):
        if is_second:
            client.sendall(WHOLE)
            answer = b""
            while b'"ok"}' not in answer:
                answer += client.recv(65_536)
        client.sendall(asked)
        assert client.recv(65_536) == b""
    store.close()


def test_a_slow_answer_is_not_cut(fiveobs_home: Path) -> None:
    """Only heads are waited for with that patience: a stream goes on, and so does a WebSocket."""
    config = load_settings({}, home=str(fiveobs_home))
    store = open_store(config.store_url)
    app = create_app(store, config)

    @app.get("/slow")
    async def get_slow() -> str:
        await asyncio.sleep(3 * Prompt.head_timeout_s)
        return "done"

    token = create_token(store, name="x", role="admin").token
    with serving_app(app, http=Prompt) as (host, port):
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"http://{host}:{port}/slow", headers=headers, timeout=10)
    store.close()
    assert answer.json() == "done"


# --- how far it is behind ----------------------------------------------------------------------


class Clock:
    """Seconds that a test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store(fiveobs_home: Path):
    opened = open_store(default_url(fiveobs_home))
    yield opened
    opened.close()


def take_in(store: Store, stem: str, offset: int) -> None:
    """As if the journal had been read up to there."""
    with store.writing() as connection:
        connection.exec_driver_sql(
            "INSERT OR IGNORE INTO projects VALUES (1, 'default', 'default', 0)"
        )
        connection.exec_driver_sql(
            "INSERT OR REPLACE INTO workers (worker_key, stem, project_key, segment, offset_bytes)"
            " VALUES (1, ?, 1, 1, ?)",
            (stem, offset),
        )


def test_what_is_not_taken_in_counts_as_lag(store: Store, fiveobs_home: Path) -> None:
    """The lag grows from when the events were first seen, and ends when they are stored."""
    clock = Clock()
    watch = IngestWatch(store, fiveobs_home / "journal", clock=clock)
    watch.step()
    assert watch.lag_s == 0.0
    path = write_segment(fiveobs_home, "host-1-1", 1, line(1), line(2))
    watch.step()
    clock.now_s += 7.0
    watch.step()
    assert watch.lag_s == 7.0
    take_in(store, "host-1-1", path.stat().st_size)
    watch.step()
    assert watch.lag_s == 0.0


def test_it_is_known_since_when_all_is_in_the_store(store: Store, fiveobs_home: Path) -> None:
    """From when nothing waited, or from when what waits no more was noted; before that, unknown."""
    clock = Clock()
    path = write_segment(fiveobs_home, "host-1-1", 1, line(1))
    watch = IngestWatch(store, fiveobs_home / "journal", clock=clock)
    assert watch.settled_s is None
    watch.step()  # notes the first line at 100 s
    clock.now_s += 5.0
    watch.step()
    assert watch.settled_s is None
    take_in(store, "host-1-1", path.stat().st_size)
    write_segment(fiveobs_home, "host-1-1", 1, line(2))
    clock.now_s += 2.0
    watch.step()  # the first line is in, the second is not
    assert watch.settled_s == 7.0
    take_in(store, "host-1-1", path.stat().st_size)
    clock.now_s += 1.0
    watch.step()
    assert watch.settled_s == 0.0
    clock.now_s += 1.0
    assert watch.settled_s == 1.0


def test_a_torn_line_does_not_count_as_lag(store: Store, fiveobs_home: Path) -> None:
    """What a killed worker has left half-written will never be taken in."""
    path = write_segment(fiveobs_home, "host-1-1", 1, line(1), b'{"half":')
    take_in(store, "host-1-1", len(line(1)))
    watch = IngestWatch(store, fiveobs_home / "journal", clock=(clock := Clock()))
    watch.step()
    clock.now_s += 100.0
    watch.step()
    assert path.exists()
    assert watch.lag_s == 0.0


def test_a_file_that_was_deleted_does_not_count_as_lag(store: Store, fiveobs_home: Path) -> None:
    """What is gone will never be taken in either."""
    path = write_segment(fiveobs_home, "host-1-1", 1, line(1))
    watch = IngestWatch(store, fiveobs_home / "journal", clock=(clock := Clock()))
    watch.step()
    clock.now_s += 9.0
    assert watch.lag_s == 9.0
    path.unlink()
    watch.step()
    assert watch.lag_s == 0.0


def test_workers_whose_journals_are_gone_cost_a_look_nothing(
    store: Store, fiveobs_home: Path
) -> None:
    """Of thirty thousand that the store knows only those with files are read."""
    path = write_segment(fiveobs_home, "host-1-1", 1, line(1))
    take_in(store, "host-1-1", path.stat().st_size)
    watch = IngestWatch(store, fiveobs_home / "journal")
    watch.step()
    few = instructions_of(watch.step)
    ended = [(key, f"host-{key}-1") for key in range(2, 30_002)]
    with store.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO workers (worker_key, stem, project_key, stopped_at_us) "
            "VALUES (?, ?, 1, 1)",
            ended,
        )
    assert 0 < instructions_of(watch.step) < 2 * few


def test_a_figure_whose_source_fails_is_left_out(store: Store) -> None:
    """Absent rather than wrong; the others are there."""
    figures = Figures()
    watch_store(figures, store)
    with store.writing() as connection:
        connection.exec_driver_sql("DROP TABLE deliveries")
    text = figures.as_text()
    assert "fiveobs_monitor_webhook_deliveries" not in text
    assert "fiveobs_monitor_events_total 0" in text
