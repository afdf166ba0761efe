"""A worker that is told what to do, the receivers of its tracks, and a faulty proxy before each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, Self

from tests.faults.conservation import Balance, Did, Held, check
from tests.peers.harness.program import until
from tests.support.forward import ForwardReceiver
from tests.support.otlp import OtlpReceiver
from tests.support.proxy import Fault, Proxy, relay
from tests.support.sentry import SentryReceiver
from tests.support.shipping import age
from tests.support.web import FluentHttpReceiver

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MARGIN_S", "PROTOCOLS", "SHUTDOWN_S", "Wiring", "Worker"]

#: How OTLP and logs travel: by HTTP and Forward with acknowledgement, or by gRPC and HTTP.
PROTOCOLS = ("http", "grpc")
#: How long a worker may try to deliver when it ends, and what its end may take besides.
SHUTDOWN_S = 1.0
MARGIN_S = 4.0
#: Jobs are never held up, so this is for a machine that is busy with something else.
ANSWER_S = 30.0
_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = _ROOT / "tests" / "faults" / "workers" / "recv_jobs.py"


class Worker:
    """The program ``workers/recv_jobs.py``; leaving the context kills one that still runs."""

    def __init__(
        self, prefix: str, settings: dict[str, str], did: Did, *, within: Sequence[str] = ()
    ) -> None:
        self._did = did
        self._said: Queue[dict[str, Any]] = Queue()
        self._process = subprocess.Popen(
            [*within, sys.executable, str(_PROGRAM), prefix],
            env={**os.environ, "PYTHONPATH": str(_ROOT), **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=each, daemon=True) for each in (self._listen, self._drain)
        ]
        #: What it wrote to its standard error.
        self.complaints: list[str] = []
        for reader in self._readers:
            reader.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            self._did.take(said)
            if "job" not in said:
                self._said.put(said)

    def _drain(self) -> None:
        assert self._process.stderr is not None
        self.complaints.extend(self._process.stderr)

    def __enter__(self) -> Self:
        self._answer()  # that it is ready
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait(10)
        for reader in self._readers:
            reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _answer(self, timeout_s: float = ANSWER_S) -> dict[str, Any]:
        try:
            return self._said.get(timeout=timeout_s)
        except Empty:
            complaints = "".join(self.complaints)
            raise AssertionError(f"no answer within {timeout_s} s:\n{complaints}") from None

    def _tell(self, **command: Any) -> dict[str, Any]:
        self._command(**command)
        return self._answer()

    def _command(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def start_running(self, jobs: int) -> None:
        """Have it run jobs, and do not wait."""
        self._command(run=jobs)

    def wait(self) -> None:
        """Wait for the end of what ``start_running`` has begun."""
        self._answer()

    def run(self, jobs: int, *, size_bytes: int = 0, mark: str = "") -> float:
        """Have it run jobs; how long that took, in seconds.

        Args:
            jobs: How many; each tenth of all that it runs fails.
            size_bytes: What each job's log line carries.
            mark: How the jobs' ids end.
        """
        return float(self._tell(run=[jobs, size_bytes, mark])["took_s"])

    def flush(self, timeout_s: float) -> bool:
        """Have it flush; whether everything went through."""
        return bool(self._tell(flush=timeout_s)["flushed"])

    def health(self) -> dict[str, Any]:
        """Each track's failures since the last success, and its last error."""
        return self._tell(health=True)

    def wait_until_failing(self, *tracks: str) -> None:
        """Wait until deliveries of each of these tracks have failed; none named means all."""

        def failing() -> bool:
            health = self.health()
            return all(health[track][0] for track in tracks or health)

        until(failing, timeout_s=ANSWER_S, what="a failure of each track")

    def end(self) -> float:
        """Let it end; how long that took, in seconds. It must end well."""
        began_s = time.monotonic()
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(ANSWER_S)
        took_s = time.monotonic() - began_s
        for reader in self._readers:
            reader.join(10)
        assert code == 0, (code, "".join(self.complaints))
        return took_s


class Wiring:
    """Receivers, proxies before them, and the settings that lead there.

    Args:
        protocol: One of :data:`PROTOCOLS`.
        home: The workers' ``FIVEOBS_HOME``.
        fault: What the proxies do at first.
        window_bytes: As for a proxy.
        tls: A server-side context, for each of the proxies.

    ``hosts`` may name destinations (``otlp``, ``logs``, ``errors``) otherwise than 127.0.0.1, and
    ``within`` the beginning of the command that runs the worker.
    """

    def __init__(
        self,
        protocol: str,
        home: Path,
        *,
        fault: Fault | None = None,
        window_bytes: int = 0,
        tls: Any = None,
    ) -> None:
        self.protocol = protocol
        self.home = home
        self.did = Did()
        self.otlp = OtlpReceiver(with_grpc=protocol == "grpc")
        self.logs = ForwardReceiver() if protocol == "http" else FluentHttpReceiver()
        self.sentry = SentryReceiver()
        self.proxies: dict[str, Proxy] = {}
        self._stack = ExitStack()
        self._options: dict[str, Any] = {"fault": fault, "window_bytes": window_bytes, "tls": tls}
        self._workers = 0
        self.hosts: dict[str, str] = {}
        self.within: Sequence[str] = ()

    def __enter__(self) -> Self:
        for receiver in (self.otlp, self.logs, self.sentry):
            self._stack.enter_context(receiver)
        otlp_port = self.otlp.grpc_port if self.protocol == "grpc" else self.otlp.port
        targets = {"otlp": otlp_port, "logs": self.logs.port, "errors": self.sentry.port}
        for name, target in targets.items():
            self.proxies[name] = self._stack.enter_context(Proxy(target, **self._options))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def play(self, fault: Fault) -> None:
        """Have every proxy do this from now on."""
        for proxy in self.proxies.values():
            proxy.fault = fault

    def heal(self) -> None:
        """Let everything through, and listen again."""
        self.play(relay())
        for proxy in self.proxies.values():
            proxy.start()

    def refuse_connections(self) -> None:
        """Listen no more."""
        for proxy in self.proxies.values():
            proxy.stop()

    def wait_until_played(self, times: int = 1) -> None:
        """Wait until each proxy has played its fault; OTLP's to both of its tracks."""
        for name, proxy in self.proxies.items():
            wanted = times * (2 if name == "otlp" and self.protocol == "http" else 1)
            proxy.wait_for(lambda p, n=wanted: p.counts["played"] >= n, timeout_s=ANSWER_S)

    def settings(self) -> dict[str, str]:
        """The worker's variables."""
        where = {name: self.hosts.get(name, "127.0.0.1") for name in self.proxies}
        ports = {name: proxy.port for name, proxy in self.proxies.items()}
        scheme = "https" if self._options["tls"] else "http"
        is_grpc = self.protocol == "grpc"
        return {
            "FIVEOBS_HOME": str(self.home),
            "FIVEOBS_SHUTDOWN_TIMEOUT": str(SHUTDOWN_S),
            "FIVEOBS_FLUSH_INTERVAL": "0.1",
            "FIVEOBS_HEARTBEAT_INTERVAL": "0.2",
            "METRICS_COLLECTION_INTERVAL": "0.2",
            "FLUENT_BIT_HOST": where["logs"],
            "FLUENT_BIT_PORT": str(ports["logs"]),
            "FLUENT_BIT_PROTOCOL": "http" if is_grpc else "forward",
            "FLUENT_BIT_TLS": str(bool(self._options["tls"])).lower(),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{scheme}://{where['otlp']}:{ports['otlp']}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if is_grpc else "http/protobuf",
            "SENTRY_DSN": f"{scheme}://public@{where['errors']}:{ports['errors']}/1",
        }

    def worker(self, **settings: str) -> Worker:
        """Start a worker; its settings are the wiring's and these."""
        self._workers += 1
        prefix = f"worker{self._workers}"
        return Worker(prefix, self.settings() | settings, self.did, within=self.within)

    def deliver_the_rest(self, **settings: str) -> None:
        """Have a later process run a job and deliver what earlier ones left."""
        age(self.home / "journal")
        patient = {"FIVEOBS_SHUTDOWN_TIMEOUT": "30"}
        with self.worker(**(patient | settings)) as later:
            later.run(1)
            until_adopted(self.home)
            assert later.flush(ANSWER_S), later.health()
            later.end()

    def check(self, **options: Any) -> dict[str, Balance]:
        """Add up; see :func:`tests.faults.conservation.check`."""
        held = Held.by(self.otlp, self.logs, self.sentry)
        return check(self.home, held, self.did, **options)


def until_adopted(home: Path, timeout_s: float = ANSWER_S) -> None:
    """Wait until the one lock that is left is that of the process that runs."""
    deadline_s = time.monotonic() + timeout_s
    while len(list((home / "journal").glob("*.lock"))) > 1:
        assert time.monotonic() < deadline_s, "a dead worker's journal was not delivered"
        time.sleep(0.02)
