"""Which track a journal line concerns, told from its bytes without parsing it.

Every line begins ``{"id":…,"seq":…,"timestamp":…,"event_type":…``, and a line that carries a span
to export goes on with ``"sampled":true``. The writer counts what each track is given with these
functions and each shipper picks its lines with the same ones, so the two sums can be compared.
"""

from __future__ import annotations

from collections.abc import Callable

_KEY = b'"event_type":"'
_SAMPLED = b',"sampled":true'
_QUEUE_WAIT = b'"queue_wait_s":'
#: The key lies within this many bytes of a line's start.
_KEY_WITHIN_BYTES = 200

#: Record types that are not events: they are parts of other tracks on their way out.
NOT_EVENTS = frozenset((b"metric", b"span", b"envelope"))

#: Record types from which the metrics are summed.
MEASURED = frozenset(
    (
        b"job.received",
        b"job.completed",
        b"job.failed",
        b"job.stopped",
        b"job.cancelled",
        b"job.interrupted",
        b"stage.completed",
        b"stage.failed",
        b"metric",
    )
)


def record_type(line: bytes) -> bytes:
    """The line's event type; empty if it is no record of ours."""
    start = line.find(_KEY, 0, _KEY_WITHIN_BYTES) + len(_KEY)
    if start < len(_KEY):
        return b""
    return line[start : line.find(b'"', start)]


def is_log(line: bytes) -> bool:
    """Whether the logs track ships the line: every event, and the application's log lines."""
    found = record_type(line)
    return bool(found) and found not in NOT_EVENTS


def is_trace(line: bytes) -> bool:
    """Whether the line carries a span to export."""
    start = line.find(_KEY, 0, _KEY_WITHIN_BYTES) + len(_KEY)
    return start >= len(_KEY) and line.startswith(_SAMPLED, line.find(b'"', start) + 1)


def is_metric(line: bytes) -> bool:
    """Whether the line counts in a metric; a job's start does if it tells a queue wait."""
    found = record_type(line)
    return found in MEASURED or (found == b"job.started" and _QUEUE_WAIT in line)


def is_error(line: bytes) -> bool:
    """Whether the line carries a Sentry envelope."""
    return record_type(line) == b"envelope"


#: What a chunk of lines must contain for one of them to be wanted; most chunks hold no error.
MARKS: dict[Callable[[bytes], bool], bytes] = {
    is_trace: _SAMPLED,
    is_error: _KEY + b'envelope"',
}

#: Track name to the function that picks its lines.
WANTS: dict[str, Callable[[bytes], bool]] = {
    "logs": is_log,
    "traces": is_trace,
    "metrics": is_metric,
    "errors": is_error,
}
