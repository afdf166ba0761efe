"""Which track a journal line concerns, told from its bytes without parsing it.

Every line begins ``{"id":…,"seq":…,"timestamp":…,"event_type":…``, and a line that carries a span
to export goes on with ``"sampled":true``. The writer counts what each track is given with these
functions and each shipper picks its lines with the same ones, so the two sums can be compared.
"""

from __future__ import annotations

from collections.abc import Callable

#: How each line that we write begins.
_HEAD = b'{"id":"'
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
        b"job.lost",
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
_MARKS: dict[Callable[[bytes], bool], bytes] = {
    is_trace: _SAMPLED,
    is_error: _KEY + b'envelope"',
}

#: What a chunk does not contain if every line in it is an event or a log line.
_NOT_EVENT_MARKS = tuple(_KEY + kind + b'"' for kind in sorted(NOT_EVENTS))


def glance(wants: Callable[[bytes], bool], chunk: bytes) -> bool | None:
    """Whether all of a chunk's lines are wanted, or none; ``None`` where each must be looked at.

    Args:
        wants: One of the functions above.
        chunk: Whole lines.
    """
    mark = _MARKS.get(wants)
    if mark is not None:
        return None if mark in chunk else False
    if wants is not is_log or any(mark in chunk for mark in _NOT_EVENT_MARKS):
        return None
    are_ours = chunk.startswith(_HEAD) and chunk.count(b"\n" + _HEAD) == chunk.count(b"\n") - 1
    return True if are_ours else None


#: Track name to the function that picks its lines.
WANTS: dict[str, Callable[[bytes], bool]] = {
    "logs": is_log,
    "traces": is_trace,
    "metrics": is_metric,
    "errors": is_error,
}
