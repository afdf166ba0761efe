"""Makes a report from the store: kind by kind, each read of its own.

What is worked out of the runs is in `summaries`; this asks for them and puts it together.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from fiveobs.monitor.analytics.columns import US, Runs, Steps
from fiveobs.monitor.report.models import KindReport, ReportAnswer
from fiveobs.monitor.report.summaries import (
    changes_of,
    failures_of,
    figures_of,
    steps_of,
    trend_of,
)
from fiveobs.monitor.store.analysed import Period, past_runs, past_steps
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.executions import kinds_named
from fiveobs.monitor.store.schema import jobs, kinds
from fiveobs.monitor.tracking.human import as_time

__all__ = ["DAY_S", "Asked", "make_report"]

DAY_S = 86_400
#: How long a part of the trend may be, in seconds, and how many parts there are at most.
_STEPS_S = (60, 300, 900, 3_600, 3 * 3_600, 6 * 3_600, DAY_S, 7 * DAY_S, 30 * DAY_S, 365 * DAY_S)
_MOST_POINTS = 40
#: Kinds of job that are listed.
_MOST_KINDS = 50
#: Jobs of one kind that are looked at, in each of the two periods.
_MOST_JOBS = 20_000


class Asked(NamedTuple):
    """Of what a report is."""

    project_key: int
    tenant_id: str
    project_id: str
    #: Microseconds since 1970: from then on, and before.
    from_us: int
    to_us: int
    job_name: str | None = None
    service: str | None = None

    @property
    def before_us(self) -> int:
        """When the period before began."""
        return 2 * self.from_us - self.to_us


class _Trend(NamedTuple):
    from_s: float
    step_s: int
    parts: int


class _Kind(NamedTuple):
    key: int
    job_name: str
    service: str


def make_report(store: Store, asked: Asked) -> ReportAnswer:
    """Work out a report. Blocks, for about as long as it takes to read the runs of two periods.

    Args:
        store: What it is of.
        asked: Of what it is.
    """
    trend = _trend(asked)
    made: list[KindReport] = []
    now, before = [Runs.of([])], [Runs.of([])]
    is_cut = False
    with store.reading() as connection:
        found = _kinds(connection, asked)
    for kind in found:
        with store.reading() as connection:
            runs, earlier, steps = _read(connection, kind, asked)
            is_cut = is_cut or _has_more(connection, kind, asked)
        if len(runs) or len(earlier):
            made.append(_of_kind(kind, runs, earlier, steps, trend))
            now.append(runs)
            before.append(earlier)
    made.sort(key=lambda each: (-each.figures.runs, each.service, each.job_name))
    runs, earlier = _joined(now), _joined(before)
    return ReportAnswer(
        tenant_id=asked.tenant_id,
        project_id=asked.project_id,
        job_name=asked.job_name,
        service=asked.service,
        from_time=as_time(asked.from_us) or "",
        to_time=as_time(asked.to_us) or "",
        before_from_time=as_time(asked.before_us) or "",
        figures=figures_of(runs),
        before=figures_of(earlier),
        changes=changes_of(runs, earlier),
        trend=trend_of(runs, *trend),
        trend_step_seconds=trend.step_s,
        kinds=made[:_MOST_KINDS],
        kinds_left_out=max(len(made) - _MOST_KINDS, 0),
        runs_left_out=is_cut,
    )


def _trend(asked: Asked) -> _Trend:
    length_s = (asked.to_us - asked.from_us) / US
    fitting = (step_s for step_s in _STEPS_S if length_s / step_s <= _MOST_POINTS)
    step_s = next(fitting, math.ceil(length_s / _MOST_POINTS))
    return _Trend(asked.from_us / US, step_s, max(math.ceil(length_s / step_s), 1))


def _kinds(connection: Connection, asked: Asked) -> list[_Kind]:
    wanted = select(kinds.c.kind_key, kinds.c.job_name, kinds.c.service)
    wanted = wanted.where(kinds.c.project_key == asked.project_key)
    if asked.job_name is not None:
        keys = kinds_named(connection, asked.project_key, asked.job_name, asked.service)
        wanted = wanted.where(kinds.c.kind_key.in_(keys))
    found = connection.execute(wanted.order_by(kinds.c.kind_key))
    return [_Kind(key, name or service, service) for key, name, service in found]


def _read(connection: Connection, kind: _Kind, asked: Asked) -> tuple[Runs, Runs, Steps]:
    period = Period([kind.key], asked.from_us, asked.to_us, _MOST_JOBS)
    earlier = Period([kind.key], asked.before_us, asked.from_us, _MOST_JOBS)
    runs = Runs.of(past_runs(connection, period))
    steps = Steps.of(past_steps(connection, period) if len(runs) else [], runs)
    return runs, Runs.of(past_runs(connection, earlier)), steps


def _has_more(connection: Connection, kind: _Kind, asked: Asked) -> bool:
    """Whether there are more jobs of a kind than are looked at, in one of the periods."""
    newest = (
        select(jobs.c.job_key)
        .where(jobs.c.kind_key == kind.key)
        .order_by(jobs.c.created_at_us.desc())
        .offset(_MOST_JOBS)
        .limit(1)
    )
    periods = ((asked.from_us, asked.to_us), (asked.before_us, asked.from_us))
    return any(
        connection.execute(
            newest.where(jobs.c.created_at_us >= from_us, jobs.c.created_at_us < to_us)
        ).first()
        for from_us, to_us in periods
    )


def _of_kind(kind: _Kind, runs: Runs, earlier: Runs, steps: Steps, trend: _Trend) -> KindReport:
    return KindReport(
        job_name=kind.job_name,
        service=kind.service,
        figures=figures_of(runs),
        before=figures_of(earlier),
        changes=changes_of(runs, earlier),
        trend=trend_of(runs, *trend),
        steps=steps_of(steps),
        failures=failures_of(runs, earlier),
    )


def _joined(parts: list[Runs]) -> Runs:
    """All of them, in the order of time."""
    columns = {
        each.name: np.concatenate([getattr(part, each.name) for part in parts])
        for each in fields(Runs)
    }
    found = Runs(**columns)
    return found.where(np.argsort(found.started_at_s, kind="stable"))
