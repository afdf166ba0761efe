"""What a journal line says: its ids, and how it is shown to people on one line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson

from fiveobs.cli._terminal import Output, plain

__all__ = [
    "ID_FIELDS",
    "LEVELS",
    "MIN_PART",
    "Record",
    "duration_text",
    "escaped",
    "ids_of",
    "is_part_of",
    "key_data",
    "level_text",
    "local_time",
    "parsed",
    "short_id",
    "who",
]

#: A journal line's object.
Record = Mapping[str, Any]

#: The fields that hold an id, in the order in which people know them.
ID_FIELDS = (
    "job_id",
    "trace_id",
    "session_id",
    "request_id",
    "worker_id",
    "machine_id",
    "span_id",
    "parent_job_id",
    "id",
)
#: Fewer characters than this are never taken for the beginning or the end of an id.
MIN_PART = 6
#: From the least to the most severe.
LEVELS = ("debug", "info", "warning", "error", "critical")

_LEVEL_WORDS = {"warning": "WARN", "critical": "CRIT"}
_LEVEL_STYLES = {
    "debug": "dim",
    "info": "green",
    "warning": "yellow",
    "error": "red",
    "critical": "bold red",
}
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-([0-9a-f]{12})")
#: How an envelope begins that holds an event.
_ENVELOPE_ID = re.compile(r'\{"event_id":\s*"([0-9a-f]{32})"')
_LONGEST_ID = 24


def parsed(line: bytes) -> dict[str, Any] | None:
    """The line's object; ``None`` if it is damaged."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and "event_type" in record else None


def escaped(text: str) -> bytes:
    """A text as it stands inside a journal line."""
    return orjson.dumps(text.encode("utf-8", "replace").decode())[1:-1]


def ids_of(record: Record) -> Iterator[tuple[str, str]]:
    """Every id of a record with its field; a Sentry event's is called ``sentry_event_id``."""
    for field in ID_FIELDS:
        if value := record.get(field):
            yield field, str(value)
    data = record.get("data")
    if isinstance(data, Mapping):
        if value := data.get("sentry_event_id"):
            yield "sentry_event_id", str(value)
        if match := _ENVELOPE_ID.match(str(data.get("envelope", ""))):
            yield "sentry_event_id", match[1]


def is_part_of(part: str, value: str) -> bool:
    """Whether a text is an id's beginning or end, and long enough to be meant so.

    Ids that sort by time begin alike when they were made together, so people are shown the end.
    """
    return len(part) >= MIN_PART and (value.startswith(part) or value.endswith(part))


def short_id(value: str) -> str:
    """The part of an id that tells it from others; ``fiveobs find`` takes it."""
    if match := _UUID.fullmatch(value):
        return match[1]
    shown = plain(value)
    return shown if len(shown) <= _LONGEST_ID else f"…{shown[-_LONGEST_ID + 1 :]}"


def local_time(timestamp: str, now: datetime) -> str:
    """A record's time on the clock here; with the day if that is not today."""
    try:
        moment = datetime.fromisoformat(timestamp).astimezone()
    except ValueError:
        return plain(timestamp)
    form = "%H:%M:%S.%f" if moment.date() == now.date() else "%Y-%m-%d %H:%M:%S.%f"
    return moment.strftime(form)[:-3]


def duration_text(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else f"{seconds * 1e6:.0f} µs"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def level_text(record: Record, out: Output) -> str:
    """The level, five characters wide, in its colour."""
    level = str(record.get("level", "info"))
    word = _LEVEL_WORDS.get(level, plain(level).upper())
    return out.paint(f"{word:<5}", _LEVEL_STYLES.get(level, ""))


def who(record: Record) -> str:
    """Service and job name."""
    names = (record.get("service"), record.get("job_name"))
    return plain("/".join(str(name) for name in names if name)) or "-"


def key_data(record: Record) -> str:
    """The figures of an event that matter most: how far, how long, what error."""
    data = record.get("data")
    if not isinstance(data, Mapping):
        return ""
    parts = []
    if isinstance(percent := data.get("percent"), int | float):
        parts.append(f"{percent:g}%")
    if isinstance(duration_s := data.get("duration_s"), int | float):
        parts.append(duration_text(duration_s))
    if isinstance(eta_s := data.get("eta_s"), int | float) and eta_s > 0:
        parts.append(f"{duration_text(eta_s)} left")
    if isinstance(error := data.get("error"), Mapping):
        parts.append(plain(error.get("type") or ""))
    if (attempt := record.get("attempt") or 1) != 1:
        parts.append(f"attempt {attempt}")
    return ", ".join(filter(None, parts))
