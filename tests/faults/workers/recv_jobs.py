"""Runs jobs when told to: a command is one JSON line on standard input, answered by JSON lines.

``{"run": [20, 0, ""]}`` runs 20 jobs, whose log lines carry so many bytes and whose ids end so, and
prints a line for each (see ``conservation.Did``) and one at the end;
``{"flush": 5}`` flushes; ``{"health": true}`` tells each shipper's failures and last error. When
standard input closes the program ends as any other does. The argument is the prefix of its job ids.
``HANG_NAMES_UNTIL`` names a file; until it is there, looking up a name hangs (and then gives
127.0.0.1), for machines where a name service that hangs cannot be had.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import fiveobs
from fiveobs import _runtime, observe_job

#: One job in so many fails.
FAILS_EVERY = 10


def say(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def job(job_id: str, text: str, *, fails: bool) -> None:
    observer = observe_job("work", service="faults", job_id=job_id)
    with contextlib.suppress(ValueError), observer as observed:
        observed.log.info("a line", text=text)
        observed.count("records", 2)
        if fails:
            raise ValueError("told to fail")
    say(job=job_id, status="failed" if fails else "completed", lines=1, counted=2)


class Runner:
    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._next = 1

    def run(self, count: int, size_bytes: int = 0, mark: str = "") -> None:
        began_s = time.monotonic()
        for number in range(self._next, self._next + count):
            job_id = f"{self._prefix}-{number}{mark}"
            job(job_id, "x" * size_bytes, fails=number % FAILS_EVERY == 0)
        self._next += count
        say(ran=count, took_s=time.monotonic() - began_s)

    def flush(self, timeout_s: float) -> None:
        began_s = time.monotonic()
        say(flushed=fiveobs.flush(timeout_s), took_s=time.monotonic() - began_s)

    def health(self, _: Any) -> None:
        pipeline = _runtime.get()
        assert pipeline is not None
        shippers = pipeline.shippers.items()
        say(**{track: [*each.health] for track, each in shippers})


def hang_names_until(path: Path) -> None:
    """Replace the resolver by one that waits for a file."""
    resolve = socket.getaddrinfo

    def hang(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if str(host).endswith(".test"):
            while not path.exists():
                time.sleep(0.02)
            host = "127.0.0.1"
        return resolve(host, port, *args, **options)

    socket.getaddrinfo = hang


def main() -> None:
    if "HANG_NAMES_UNTIL" in os.environ:
        hang_names_until(Path(os.environ["HANG_NAMES_UNTIL"]))
    runner = Runner(sys.argv[1])
    say(ready=os.getpid())
    for line in sys.stdin:
        for command, argument in json.loads(line).items():
            arguments = argument if isinstance(argument, list) else [argument]
            getattr(runner, command)(*arguments)


if __name__ == "__main__":
    main()
