"""The harness of the peer tests: ports that nobody else has, programs that find theirs taken."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from tests.peers.harness.program import HOST, Program, until
from tests.support.base import Receiver
from tests.support.ports import free_port, hold, is_free, port_range
from tests.support.programs import ROOT

#: Listens on a port, or ends as a program does whose port is taken.
LISTENER = """\
import socket, sys
listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print("listening", flush=True)
listener.accept()
"""


class Listener(Program):
    """A program that listens on one port."""

    name: ClassVar[str] = "listener"

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder)
        self.port = port

    def command(self) -> list[str]:
        return [sys.executable, "-c", LISTENER, str(self.port)]

    def is_ready(self) -> bool:
        return "listening" in self.output


def test_workers_of_one_run_have_no_port_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks in a range of its own, all of them within that of a run without workers."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    alone = port_range()
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    seen: set[int] = set()
    for number in range(3):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        mine = set(port_range())
        assert len(mine) == len(alone) // 3
        assert mine <= set(alone)
        assert not mine & seen
        assert free_port() in mine
        seen |= mine


def test_no_port_is_given_out_twice() -> None:
    """Also where nobody listens on the first one yet."""
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200


def test_a_receiver_that_is_stopped_keeps_its_port() -> None:
    """It refuses connections, is nobody else's, and the receiver finds it when it starts again."""
    receiver = Receiver().start()
    port = receiver.port
    receiver.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), timeout=5)
    assert not is_free(port)
    with receiver.start():
        assert receiver.port == port
        socket.create_connection((HOST, port), timeout=5).close()


def test_a_port_is_held_as_long_as_its_owner_lives() -> None:
    """Then it is free, without anybody's giving it up."""
    owner = Listener(Path(), 0)
    port = hold(owner, free_port())
    assert not is_free(port)
    with pytest.raises(OSError, match="in use"), socket.create_server((HOST, port)):
        hold(owner, port)
    del owner
    assert is_free(port)


def test_a_program_whose_port_is_taken_is_started_again(tmp_path: Path) -> None:
    """It says so and ends; once the port is free, it comes up there."""
    with socket.socket() as taken:
        taken.bind((HOST, free_port()))
        taken.listen()
        listener = Listener(tmp_path, taken.getsockname()[1])
        starting = threading.Thread(target=listener.start)
        starting.start()
        until(lambda: "Address already in use" in listener.output, what="it found its port taken")
    starting.join(30)
    socket.create_connection((HOST, listener.port), timeout=5).close()
    listener.kill()


def test_a_program_that_fails_is_not_started_again(tmp_path: Path) -> None:
    """Its end is a failure that shows what it said, at once."""
    listener = Listener(tmp_path, 70_000)
    with pytest.raises(AssertionError, match="port must be 0-65535"):
        listener.start()


def test_a_program_does_not_wait_for_ever_for_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the time that it has to start, the taken port is the failure."""
    monkeypatch.setattr(Listener, "start_timeout_s", 0.5, raising=False)
    with socket.socket() as taken:
        taken.bind((HOST, free_port()))
        taken.listen()
        with pytest.raises(AssertionError, match="Address already in use"):
            Listener(tmp_path, taken.getsockname()[1]).start()


def test_a_repeat_stops_at_the_first_failure_and_says_how_far_it_came(tmp_path: Path) -> None:
    """``make repeat`` runs the suites as often as it is told; here something fails in the third."""
    for name in ("pip", "base", "test", "peers"):
        (tmp_path / f".ready-{name}").touch()
    calls = tmp_path / "calls"
    python = tmp_path / "python"
    # Each run is two commands; the sixth fails.
    python.write_text(f'#!/bin/sh\necho "$*" >> {calls}\ntest "$(wc -l < {calls})" -ne 6\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "repeat", "TIMES=5", f"VENV={tmp_path}", f"RUN={python}", "PACKAGE_FILES="],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "2 of 5 runs passed, and the next one failed" in done.stderr
    suites = ["tests/peers", "tests/faults"]
    said = calls.read_text().splitlines()
    assert [suite in line for suite, line in zip(3 * suites, said, strict=True)] == 6 * [True]
