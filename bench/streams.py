"""How late and how complete live events are, for many clients of one monitor.

One process is the monitor (``fiveobs serve``: ingest, store, API), one a worker that runs jobs at a
steady rate, and this one the clients: plain sockets, each with a server-sent stream of the whole
project. Delay is from the time in the event, which the job took, to the bytes being there for the
client; all on one clock. Lost is what a client should have got and did not; keys of events have no
gaps, so each client can tell.

    python bench/streams.py --clients 500 --jobs-per-s 100 --seconds 30
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from array import array
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATH = "/api/default/default/execution/events"
_IDS = re.compile(rb"^id: (\d+)\ndata: ", re.MULTILINE)
_TIMES = re.compile(rb'^id: (\d+)\ndata: [^\n]*?"time":"([^"]+)"', re.MULTILINE)
_MOST_MS = 60_000
#: The goal: median delay, in seconds.
GOAL_S = 0.25


class Tally:
    """What all clients have received, together."""

    def __init__(self) -> None:
        #: By event key: the time in the event, in seconds since 1970.
        self.times: dict[int, float] = {}
        self.delays_ms = array("Q", bytes(8 * (_MOST_MS + 1)))
        self.messages = self.size_bytes = self.gaps = 0
        self.newest = 0

    def took(self, content: bytes, keys: list[int]) -> None:
        """Some client has received these."""
        now = time.time()
        if keys[-1] > self.newest:
            self.newest = keys[-1]
            for key, text in _TIMES.findall(content):
                moment = datetime.fromisoformat(text.decode()).timestamp()
                self.times.setdefault(int(key), moment)
        self.messages += len(keys)
        for key in keys:
            delay_ms = int((now - self.times[key]) * 1000)
            self.delays_ms[min(max(delay_ms, 0), _MOST_MS)] += 1

    def quantile_ms(self, share: float) -> int:
        """A delay that so many messages did not exceed."""
        left = share * self.messages
        for delay_ms, count in enumerate(self.delays_ms):
            left -= count
            if left <= 0:
                return delay_ms
        return _MOST_MS


class Client(asyncio.Protocol):
    """One stream.

    Args:
        tally: Where it is counted.
        head: The request.
    """

    def __init__(self, tally: Tally, head: bytes) -> None:
        self._tally = tally
        self._head = head
        self._rest = b""
        self.first = self.last = self.received = 0
        self.connected = asyncio.Event()
        self.problem = ""

    def connection_made(self, transport: Any) -> None:
        """Ask."""
        transport.write(self._head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember it: a stream has no end."""
        self.problem = self.problem or f"disconnected: {exc}"

    def data_received(self, data: bytes) -> None:
        """Count whole messages."""
        self._tally.size_bytes += len(data)
        content = self._rest + data if self._rest else data
        end = content.rfind(b"\n\n") + 2
        if end < 2:
            self._rest = content
            return
        self._rest = content[end:]
        content = content[:end]
        if not self.connected.is_set():
            if b" 200 " not in content[:20]:
                self.problem = content[:300].decode(errors="replace")
            self.connected.set()
        keys = list(map(int, _IDS.findall(content)))
        if keys:
            self._note(keys)
            self._tally.took(content, keys)

    def _note(self, keys: list[int]) -> None:
        expected = self.last + 1 if self.last else keys[0]
        if keys[0] != expected or keys[-1] - keys[0] + 1 != len(keys):
            self._tally.gaps += 1
        self.first = self.first or keys[0]
        self.last = keys[-1]
        self.received += len(keys)


async def measure(url: str, token: str, options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Connect all clients, have jobs run, and wait until everybody has everything."""
    host, _, port = url.removeprefix("http://").partition(":")
    head = f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
    tally = Tally()
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for _ in range(options.clients):
        client = Client(tally, head.encode())
        await loop.create_connection(lambda made=client: made, host, int(port))
        clients.append(client)
    await asyncio.wait_for(asyncio.gather(*(each.connected.wait() for each in clients)), 60)
    worker = await asyncio.create_subprocess_exec(
        *_command("--work", options), env=_environment(home)
    )
    started_s = time.monotonic()
    await worker.wait()
    expected = options.seconds * options.jobs_per_s * (5 if options.stages else 2)
    deadline = time.monotonic() + 60
    # An event for each message would cost more than it measures.
    while (  # noqa: ASYNC110
        time.monotonic() < deadline and min(each.received for each in clients) < expected
    ):
        await asyncio.sleep(0.05)
    took_s = time.monotonic() - started_s
    return _result(tally, clients, expected, took_s)


def _result(tally: Tally, clients: list[Client], expected: int, took_s: float) -> dict[str, Any]:
    newest = max(each.last for each in clients)
    first = min(each.first for each in clients)
    lost = sum(newest - first + 1 - each.received for each in clients)
    return {
        "clients": len(clients),
        "events": newest - first + 1,
        "events of jobs expected": expected,
        "messages": tally.messages,
        "messages_per_s": round(tally.messages / took_s),
        "megabytes_per_s": round(tally.size_bytes / took_s / 1e6, 1),
        "median_ms": tally.quantile_ms(0.5),
        "p95_ms": tally.quantile_ms(0.95),
        "p99_ms": tally.quantile_ms(0.99),
        "max_ms": tally.quantile_ms(1.0),
        "lost": lost,
        "out_of_order": tally.gaps,
        "problems": sorted({each.problem for each in clients if each.problem})[:3],
    }


def work(options: argparse.Namespace) -> None:
    """Run jobs at a steady rate."""
    from fiveobs import observe_job, shutdown

    started_s = time.monotonic()
    for number in range(options.seconds * options.jobs_per_s):
        with observe_job("resize-image", service="thumbnails") as job:
            if options.stages:
                with job.stage("Resizing"):
                    pass
                job.progress(0.5)
        left_s = started_s + (number + 1) / options.jobs_per_s - time.monotonic()
        if left_s > 0:
            time.sleep(left_s)
    shutdown(10.0)


def serve() -> None:
    """Be the monitor; the first line says where."""
    from fiveobs.monitor.serving import serve as run
    from fiveobs.monitor.settings import load_settings

    settings = load_settings(os.environ, port=0)
    sys.exit(run(settings, say=lambda line: print(line, flush=True)))


def _command(what: str, options: argparse.Namespace) -> list[str]:
    given = ["--seconds", str(options.seconds), "--jobs-per-s", str(options.jobs_per_s)]
    return [sys.executable, __file__, what, *given, *(["--stages"] if options.stages else [])]


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "FIVEOBS_HOME": str(home), "PYTHONPATH": str(ROOT)}


def _warm_up(home: Path, options: argparse.Namespace) -> None:
    """One job, so that the project is there before anybody asks for it."""
    few = argparse.Namespace(seconds=1, jobs_per_s=1, stages=options.stages)
    subprocess.run(_command("--work", few), env=_environment(home), check=True)


def _cpu_s(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def main() -> int:
    """Measure and print; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--jobs-per-s", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--stages", action="store_true", help="five events a job, not two")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    if options.work:
        work(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _warm_up(home, options)
        command = _command("--serve", options)
        monitor = subprocess.Popen(
            command, env=_environment(home), stdout=subprocess.PIPE, text=True
        )
        try:
            url, token = _said(monitor)
            time.sleep(2)  # it has taken the first job in by then
            before_s, own_before_s = _cpu_s(monitor.pid), time.process_time()
            started_s = time.monotonic()
            result = asyncio.run(measure(url, token, options, home))
            share = 100 / (time.monotonic() - started_s)
            result["monitor_cpu_percent"] = round(share * (_cpu_s(monitor.pid) - before_s))
            result["clients_cpu_percent"] = round(share * (time.process_time() - own_before_s))
        finally:
            monitor.terminate()
            monitor.wait(timeout=20)
    print(json.dumps(result, indent=2))
    is_met = not result["lost"] and result["median_ms"] < GOAL_S * 1000
    print("goal met" if is_met else f"goal missed: median below {GOAL_S * 1000:g} ms, none lost")
    return 0 if is_met else 1


def _said(monitor: subprocess.Popen[str]) -> tuple[str, str]:
    """Address and first token, as the monitor prints them."""
    url = token = ""
    assert monitor.stdout is not None
    while not (url and token):
        line = monitor.stdout.readline()
        if not line:
            raise RuntimeError(f"the monitor ended with {monitor.wait()}")
        words = line.split()
        if "listens" in words:
            url = words[-1]
        elif words[:1] == ["token"]:
            token = words[1]
    return url, token


if __name__ == "__main__":
    sys.exit(main())
