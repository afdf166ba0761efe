"""Serves receivers that write down what they hold before they answer, so that SIGKILL loses none.

The arguments: a folder for the ledgers, then ``NAME=PORT`` for each receiver, fixed ports so that a
second process takes the first one's place (``otlp_grpc=PORT`` is OTLP's second one). Commands on
standard input are those of :mod:`tests.support.receivers`. A file ``die-KIND`` in the folder
(spans, metrics, records, envelopes) is an order to die once more of that kind is written down and
not answered.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.support._otlp_parse import metrics_of, spans_of
from tests.support.forward import ForwardReceiver, _parsed
from tests.support.otlp import OtlpReceiver
from tests.support.receivers import serve
from tests.support.sentry import SentryReceiver, parse_envelope
from tests.support.web import Answer, FluentHttpReceiver, Request, _json_records

__all__ = ["FluentHttp", "Forward", "Otlp", "Sentry"]


def _folder() -> Path:
    return Path(sys.argv[1])


class _Writing:
    """Mixed into a receiver: its ledger."""

    ledger_fd: int

    def write_down(self, kind: str, held: list[Any]) -> None:
        """Append one line, for good when this returns."""
        entry = json.dumps({"kind": kind, "held": held}).encode()
        # The newline before ends a line that a kill has cut off.
        os.write(self.ledger_fd, b"\n" + entry + b"\n")
        mark = _folder() / f"die-{kind}"
        if mark.exists():
            mark.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


class Otlp(_Writing, OtlpReceiver):
    """Notes spans and metrics."""

    def _spans(self, message: Any, answer: Any) -> None:
        self.write_down("spans", list(spans_of(message)))
        super()._spans(message, answer)

    def _metrics(self, message: Any, answer: Any) -> None:
        self.write_down("metrics", list(metrics_of(message)))
        super()._metrics(message, answer)


class Forward(_Writing, ForwardReceiver):
    """Notes records."""

    def _take(self, connection: Any, message: Any, mode: Any) -> None:
        _, entries, _ = _parsed(message, count_only=False)
        self.write_down("records", [record for _, record in entries])
        super()._take(connection, message, mode)


class FluentHttp(_Writing, FluentHttpReceiver):
    """Notes records."""

    def _receive(self, request: Request) -> Answer:
        self.write_down("records", _json_records(request.body))
        return super()._receive(request)


class Sentry(_Writing, SentryReceiver):
    """Notes envelopes."""

    def _receive(self, request: Request) -> Answer:
        envelope = parse_envelope(request.body)
        items = [[item.type, item.payload] for item in envelope.items]
        self.write_down("envelopes", [{"headers": envelope.headers, "items": items}])
        return super()._receive(request)


_KINDS: dict[str, Any] = {each.name: each for each in (Otlp, Forward, FluentHttp, Sentry)}


def main() -> None:
    _, _, *ports = sys.argv
    given = {name: int(port) for name, _, port in (each.partition("=") for each in ports)}
    grpc_port = given.pop("otlp_grpc", 0)
    receivers = {}
    for name, port in given.items():
        options = {"grpc_port": grpc_port} if name == "otlp" else {}
        receivers[name] = _KINDS[name](port=port, count_only=True, **options)
        path = _folder() / f"{name}.ledger"
        receivers[name].ledger_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    serve(receivers)


if __name__ == "__main__":
    main()
