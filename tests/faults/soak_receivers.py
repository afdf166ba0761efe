"""One receiver that writes down the ids of what it takes, before it says that it has it.

``python -m tests.faults.soak_receivers NAME LEDGER PORT [GRPC_PORT]`` prints its address as one
JSON line and takes the commands of ``tests.support.receivers``. The ledger is a file of lines; it
survives the SIGKILL of this process, which keeps nothing else in memory.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from tests.faults.soak_ledger import END
from tests.support.forward import ForwardReceiver
from tests.support.normalizer import complaints_about
from tests.support.otlp import OtlpReceiver
from tests.support.receivers import serve
from tests.support.sentry import SentryReceiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.support.base import Receiver

#: What receivers keep for tests, and how much of it they keep here. Envelopes are judged as they
#: come, each of them: what was kept until the end would be gone with a SIGKILL.
_KEPT_FOR_TESTS = {"requests": 8, "arrivals": 8, "chunks": 8, "problems": 8, "_unjudged": 0}
#: The metrics whose sums are compared, and the field of a point that holds them.
_SUMMED = {"jobs.processed": "value", "job.stage.duration": "count", "records": "value"}


class _Ledger(list[Any]):
    """Takes the place of a receiver's list: writes a line for each item and forgets it."""

    def __init__(self, fd: int, lines_of: Callable[[Any], Iterable[str]]) -> None:
        super().__init__()
        self._fd = fd
        self._lines_of = lines_of

    def append(self, item: Any) -> None:
        self.extend((item,))

    def extend(self, items: Iterable[Any]) -> None:
        lines = [line for item in items for line in self._lines_of(item)]
        text = memoryview("".join(f"{line} {END}\n" for line in lines).encode())
        while text:
            text = text[os.write(self._fd, text) :]


def _record(entry: Any) -> Iterable[str]:
    _, _, record = entry
    yield f"log {record['id']} {record.get('job_id', '-')}"


def _span(span: dict[str, Any]) -> Iterable[str]:
    said = span["attributes"]
    yield f"{'stage' if 'job.stage' in said else 'job'} {said['job.id']}"


def _metric(metric: dict[str, Any]) -> Iterable[str]:
    field = _SUMMED.get(metric["name"])
    if field is not None:
        maker = metric["resource"]["service.instance.id"]
        for point in metric["points"]:
            labels = ",".join(f"{k}={v}" for k, v in sorted(point["attributes"].items()))
            series = f"{maker}/{point['start_ns']}/{metric['name']}/{labels}"
            yield f"sum {series.replace(' ', '_')} {point[field]:g}"


def _envelope(envelope: Any) -> Iterable[str]:
    for item in envelope.items:
        if item.type == "event":
            yield f"error {item.payload['tags']['job_id']}"
    for complaint in complaints_about([envelope]):
        yield f"bad {' '.join(complaint.split())}"


def _receiver(name: str, fd: int, ports: list[int]) -> Receiver:
    if name == "otlp":
        otlp = OtlpReceiver(port=ports[0], grpc_port=ports[1])
        otlp.spans, otlp.metrics = _Ledger(fd, _span), _Ledger(fd, _metric)
        return otlp
    if name == "forward":
        forward = ForwardReceiver(port=ports[0])
        forward.records = _Ledger(fd, _record)
        return forward
    sentry = SentryReceiver(port=ports[0])
    sentry.envelopes = _Ledger(fd, _envelope)
    return sentry


def main() -> None:
    name, path, *ports = sys.argv[1:]
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"\n")  # ends a line in the middle of which the process before was killed
    receiver = _receiver(name, fd, [int(port) for port in ports])
    for kept in _KEPT_FOR_TESTS.keys() & vars(receiver).keys():
        setattr(receiver, kept, deque(maxlen=_KEPT_FOR_TESTS[kept]))
    serve({name: receiver})


if __name__ == "__main__":
    main()
