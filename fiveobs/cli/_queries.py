"""The queries that lead from an id to the same job in other tools."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TypeAlias

from fiveobs.cli._search import Group
from fiveobs.cli._terminal import plain

__all__ = ["queries"]

#: Pairs of a language and a query in it.
Rows: TypeAlias = list[tuple[str, ...]]

#: How far around the records to look for metrics: they are exported every so often.
_AROUND = timedelta(minutes=1)
#: The ids that select a job's logs, the most exact first.
_LOG_IDS = ("job_id", "trace_id", "session_id", "request_id", "worker_id", "machine_id")


def queries(group: Group) -> dict[str, Rows]:
    """What to paste where, by track."""
    ids = {kind: next(iter(values)) for kind, values in group.ids.items() if len(values) == 1}
    ids |= {kind: group.value for kind in group.kinds if kind in _LOG_IDS}
    found = {
        "Logs": _logs(ids),
        "Traces": _traces(ids),
        "Metrics": _metrics(ids, group),
        "Errors": _errors(ids),
        "Events": _events(ids),
    }
    return {title: rows for title, rows in found.items() if rows}


def _logs(ids: dict[str, str]) -> Rows:
    kind = next((kind for kind in _LOG_IDS if kind in ids), None)
    if kind is None:
        return []
    value = _quoted(ids[kind])
    return [
        ("query", f"{kind}={value}"),
        ("LogQL", f'{{service_name=~".+"}} |= {value}'),
    ]


def _traces(ids: dict[str, str]) -> Rows:
    rows: Rows = []
    if trace_id := ids.get("trace_id"):
        rows.append(("query", f"trace_id={_quoted(trace_id)}"))
    if job_id := ids.get("job_id"):
        rows.append(("TraceQL", f"{{ span.job.id = {_quoted(job_id)} }}"))
    elif session_id := ids.get("session_id"):
        rows.append(("TraceQL", f"{{ span.session.id = {_quoted(session_id)} }}"))
    return rows


def _metrics(ids: dict[str, str], group: Group) -> Rows:
    kind = next((kind for kind in ("worker_id", "machine_id") if kind in ids), None)
    span = _time_span(group)
    if kind is None or span is None:
        return []
    start, end = span
    selector = f"{kind}={_quoted(ids[kind])}"
    seconds = max(1, round((end - start).total_seconds()))
    return [
        ("query", f"{selector} AND timestamp >= {_utc(start)} AND timestamp <= {_utc(end)}"),
        (
            "PromQL",
            f"increase(jobs_processed_total{{{selector}}}[{seconds}s] @ {end.timestamp():.0f})",
        ),
    ]


def _errors(ids: dict[str, str]) -> Rows:
    rows: Rows = []
    if event_id := ids.get("sentry_event_id"):
        rows.append(("Sentry event", plain(event_id)))
    for kind in ("job_id", "session_id", "worker_id"):
        if kind in ids:
            value = plain(ids[kind])
            rows.append(("Sentry", f"{kind}:{_quoted(value) if ' ' in value else value}"))
            break
    return rows


def _events(ids: dict[str, str]) -> Rows:
    rows: Rows = []
    if session_id := ids.get("session_id"):
        rows.append(("query", f"session_id={_quoted(session_id)}"))
        rows.append(("here", f"fiveobs find {plain(session_id)}"))
    if job_id := ids.get("job_id"):
        rows.append(("live", f"fiveobs tail --job {plain(job_id)}"))
    return rows


def _time_span(group: Group) -> tuple[datetime, datetime] | None:
    try:
        first, last = (datetime.fromisoformat(at) for at in (group.first_at, group.last_at))
        return first - _AROUND, last + _AROUND
    except (ValueError, OverflowError):
        return None


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _quoted(value: str) -> str:
    return json.dumps(plain(value), ensure_ascii=False)
