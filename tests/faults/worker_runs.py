"""Drives worker programs through faults, one command at a time, and settles what they leave.

``wk_obeys`` does what a test tells it on its standard input, so a fault can be put between two
given jobs; ``Worker`` is the test's end of that. ``settle`` has a later process deliver what dead
ones have left, as happens in production, and then adds everything up.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.faults.conservation import SENT_TRACKS, Balance, Did, Held, check
from tests.support.shipping import age

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.workers import Destinations

__all__ = [
    "QUICK",
    "WORKERS",
    "Worker",
    "drops_of",
    "finish",
    "flapping",
    "held_by",
    "received_once",
    "settle",
    "spawn",
]

WORKERS = Path(__file__).resolve().parent / "workers"
_ROOT = Path(__file__).resolve().parents[2]
#: Often enough that upkeep, adoption and exports take no long while.
QUICK = {
    "FIVEOBS_HEARTBEAT_INTERVAL": "0.2",
    "FIVEOBS_FLUSH_INTERVAL": "0.05",
    "METRICS_COLLECTION_INTERVAL": "0.3",
    "FIVEOBS_SHUTDOWN_TIMEOUT": "20",
}
#: A worker that takes longer to answer hangs.
_ANSWER_TIMEOUT_S = 120.0


def spawn(
    program: str,
    *args: object,
    settings: dict[str, str],
    prefix: Sequence[str] = (),
    **options: Any,
) -> subprocess.Popen[str]:
    """Start a program of ``tests/faults/workers``.

    Args:
        program: Its file name without ``.py``.
        args: Its arguments.
        settings: Variables on top of the present ones.
        prefix: A command that runs it, such as ``nsenter``.
        options: For ``Popen``.
    """
    command = [*prefix, sys.executable, str(WORKERS / f"{program}.py"), *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), **QUICK, **settings}
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command, env=environment, **options)


class Worker:
    """A running ``wk_obeys``; killed at the end of its ``with`` block if it still runs.

    Args:
        settings: Where it sends to, and whatever else is set.
        prefix: A command that runs it.
        options: For ``Popen``.
    """

    def __init__(
        self, settings: dict[str, str], *, prefix: Sequence[str] = (), **options: Any
    ) -> None:
        #: Every line it has printed, in order.
        self.told: list[dict[str, Any]] = []
        self.process = spawn("wk_obeys", settings=settings, prefix=prefix, **options)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def tell(self, command: str, *args: object) -> None:
        """Give it something to do, without waiting."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, *args]) + "\n")
        self.process.stdin.flush()

    def ask(self, command: str, *args: object) -> dict[str, Any]:
        """Give it something to do and wait until it is done; what it answered.

        Raises:
            AssertionError: It ended first, or did not answer.
        """
        self.tell(command, *args)
        return self.answer(command)

    def answer(self, command: str) -> dict[str, Any]:
        """Wait until it has done what it was told; what it answered.

        Raises:
            AssertionError: It ended first, or did not answer.
        """
        while True:
            answer = self._next()
            if "done" in answer:
                assert answer["done"] == command
                return answer

    def _next(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=_ANSWER_TIMEOUT_S)
        except queue.Empty:
            raise AssertionError(f"no answer; it said {self.told[-3:]}") from None
        if not line.endswith("\n"):
            raise AssertionError(f"it ended with {self.process.wait(5)}; {self.told[-3:]}")
        self.told.append(json.loads(line))
        return self.told[-1]

    def wait_for(self, command: str) -> None:
        """Wait until it says that it has done this."""
        while self._next().get("done") != command:
            pass

    def wait_for_job(self) -> None:
        """Wait until it says that it has done another job."""
        while "job" not in self._next():
            pass

    def end(self, command: str = "end") -> int:
        """Have it end, read what it still says, and return its exit code."""
        self.tell(command)
        return self.wait()

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal to it, wait for its end and return its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(_ANSWER_TIMEOUT_S)
        self._thread.join(_ANSWER_TIMEOUT_S)
        while line := self._lines.get():
            if line.endswith("\n"):
                self.told.append(json.loads(line))
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # a command that it did not read any more
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()


def held_by(there: Destinations) -> Held:
    """What the destinations hold."""
    return Held.by(there.otlp, there.forward, there.sentry)


def received_once(there: Destinations) -> dict[str, int]:
    """How many different records each track's receiver holds; for metrics, what they add up to."""
    held = held_by(there)
    found = {track: len(keys) for track, keys in held.keys().items()}
    # Each end of a job is one line; so is each measurement of `records`, which adds 3.
    found["metrics"] = int(held.total("jobs.processed") + held.total("records") / 3)
    return found


def drops_of(worker: Worker, there: Destinations) -> dict[str, int]:
    """Have it send everything; each track's drops.

    Asserts that what its witness saw is what arrived and what was counted as dropped.
    """
    for _ in range(20):  # a sign of life may come between the two
        assert worker.ask("flush", 40)["flushed"]
        answer = worker.ask("sums")
        if not any(answer["sums"][track]["pending"] for track in SENT_TRACKS):
            break
    received = received_once(there)
    for track in SENT_TRACKS:
        sums = answer["sums"][track]
        assert sums["accepted"] == answer["made"][track], (track, answer)
        assert sums["pending"] == 0, (track, answer)
        assert sums["delivered"] + sums["dropped"] == sums["accepted"], (track, answer)
        assert received[track] == sums["delivered"], (track, received, answer)
    return {track: answer["sums"][track]["dropped"] for track in SENT_TRACKS}


def finish(there: Destinations, *, prefix: Sequence[str] = (), **settings: str) -> None:
    """Run a process that lives until nothing dead is left to adopt."""
    home = settings.get("FIVEOBS_HOME", os.environ["FIVEOBS_HOME"])
    if not prefix:
        age(Path(home, "journal"))
    with Worker(there.settings() | settings, prefix=prefix) as last:
        last.ask("adopt")
        assert last.end() == 0


def settle(
    there: Destinations,
    home: Path,
    *workers: Worker | list[dict[str, Any]],
    was_killed: int = False,
    dropped: dict[str, int] | None = None,
) -> dict[str, Balance]:
    """Have what is left delivered, and assert that of every track nothing is lost or invented."""
    finish(there, FIVEOBS_HOME=str(home))
    assert not list((home / "journal").glob("*.lock"))
    told = [each.told if isinstance(each, Worker) else each for each in workers]
    found = check(home, held_by(there), Did.of(*told), dropped=dropped, was_killed=was_killed)
    assert found["events"].dropped == (dropped or {}).get("events", 0), found["events"]
    return found


@contextmanager
def flapping(there: Destinations, period_s: float) -> Iterator[None]:
    """Meanwhile, the receivers go away and come back again and again."""
    over = threading.Event()

    def flap() -> None:
        while not over.wait(period_s):
            for receiver in there.all:
                receiver.stop()
            over.wait(period_s)
            for receiver in there.all:
                receiver.start()

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
