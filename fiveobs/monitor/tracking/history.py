"""Past runs of the same kind of job, as estimates and comparisons need them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, median
from typing import Any

from fiveobs.monitor.store.rows import RunRow, StageRow
from fiveobs.monitor.tracking.human import US
from fiveobs.monitor.tracking.throughput import DEFAULT_UNIT, counted_in

__all__ = ["MIN_RUNS", "MOST_RUNS", "History", "PastRun", "quantile", "to_history"]

#: The most recent runs that are looked at; more would say little about how it is now.
MOST_RUNS = 100
#: With fewer, nothing is concluded from them.
MIN_RUNS = 5


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """A completed run of a kind of job."""

    job_key: int
    duration_s: float
    #: How long each of its stages took, in seconds, by name.
    stages: Mapping[str, float] = field(default_factory=dict)
    #: Units done a second in each stage, by its name and what it counted.
    stage_rates: Mapping[tuple[str, str], float] = field(default_factory=dict)
    #: Units done a second by all stages that counted the same, by what that was.
    rates: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class History:
    """The last completed runs of a kind of job, the newest first."""

    runs: tuple[PastRun, ...] = ()

    def without(self, job_key: int) -> History:
        """The runs of others: who compares a run with the past does not mean the run itself."""
        if job_key not in self._keys:
            return self
        return History(runs=tuple(run for run in self.runs if run.job_key != job_key))

    @cached_property
    def _keys(self) -> frozenset[int]:
        return frozenset(run.job_key for run in self.runs)

    @cached_property
    def durations_s(self) -> list[float]:
        """How long they took, in seconds."""
        return [run.duration_s for run in self.runs]

    @cached_property
    def _sorted_s(self) -> list[float]:
        return sorted(self.durations_s)

    @cached_property
    def _known(self) -> dict[Any, Any]:
        """What was worked out already: many jobs of one kind ask for the same."""
        return {}

    def longer_than(self, elapsed_s: float) -> list[float]:
        """The durations of those runs that took longer, in seconds, the shortest first."""
        return self._sorted_s[bisect_right(self._sorted_s, elapsed_s) :]

    def rests_s(
        self,
        stages: tuple[str, ...],
        current: str | None = None,
        elapsed_s: float = 0.0,
        *,
        weight: float = 1.0,
    ) -> list[float]:
        """How long these stages took together, in seconds, in those runs that had them all.

        Args:
            stages: Those to come.
            current: One that runs: what was left of it is added.
            elapsed_s: How long it has run; runs in which it was over by then are left out.
            weight: What the duration of that one is multiplied by.
        """
        key = current, stages
        if key not in self._known:
            needed = stages if current is None else (current, *stages)
            runs = [run.stages for run in self.runs if all(name in run.stages for name in needed)]
            rests = (sum(run[name] for name in stages) for run in runs)
            firsts = (run[current] if current is not None else 0.0 for run in runs)
            self._known[key] = list(zip(firsts, rests, strict=True))
        pairs: list[tuple[float, float]] = self._known[key]
        if current is None:
            return [rest_s for _, rest_s in pairs]
        return [
            weight * first_s - elapsed_s + rest_s
            for first_s, rest_s in pairs
            if first_s > elapsed_s
        ]

    def stage_durations_s(self, stage: str) -> list[float]:
        """How long a stage took in those runs that had it, in seconds."""
        return [run.stages[stage] for run in self.runs if stage in run.stages]

    def stage_median_s(self, stage: str) -> float | None:
        """How long a stage usually takes, in seconds; ``None`` below `MIN_RUNS`."""
        key = "median", stage
        if key not in self._known:
            found = self.stage_durations_s(stage)
            self._known[key] = median(found) if len(found) >= MIN_RUNS else None
        known: float | None = self._known[key]
        return known

    def stage_rate_per_s(self, stage: str, unit: str) -> float | None:
        """How many of a unit a stage usually does a second; ``None`` below `MIN_RUNS`."""
        found = [run.stage_rates.get((stage, unit)) for run in self.runs]
        known = [each for each in found if each is not None]
        return median(known) if len(known) >= MIN_RUNS else None

    def rate_per_s(self, unit: str) -> float | None:
        """How many of a unit a run does a second, on average; ``None`` below `MIN_RUNS`."""
        known = [run.rates[unit] for run in self.runs if unit in run.rates]
        return fmean(known) if len(known) >= MIN_RUNS else None


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which a share (0 to 1) of at least one values lies, interpolated.

    Source: the definition with n - 1 intervals (R's type 7, ``method="inclusive"``).
    """
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def to_history(runs: Sequence[RunRow], stages: Iterable[StageRow]) -> History:
    """Past runs from the rows of their jobs and stages."""
    by_job: dict[int, list[StageRow]] = {}
    for stage in stages:
        by_job.setdefault(stage.job_key, []).append(stage)
    return History(runs=tuple(_run(run, by_job.get(run.job_key, [])) for run in runs))


def _run(run: RunRow, stages: list[StageRow]) -> PastRun:
    durations: dict[str, float] = {}
    same: dict[tuple[str, str], list[StageRow]] = {}
    for stage in stages:
        durations[stage.stage] = durations.get(stage.stage, 0.0) + (stage.duration_s or 0.0)
        same.setdefault((stage.stage, stage.unit or DEFAULT_UNIT), []).append(stage)
    stage_rates = {key: _rate_per_s(counted_in(rows, key[1])) for key, rows in same.items()}
    rates = {unit: _rate_per_s(counted_in(stages, unit)) for _, unit in same}
    if not any(rates.values()) and run.done and run.progress_at_us and run.started_at_us:
        took_s = (run.progress_at_us - run.started_at_us) / US
        rates = {DEFAULT_UNIT: run.done / took_s if took_s > 0 else None}
    return PastRun(
        job_key=run.job_key,
        duration_s=run.duration_s,
        stages=durations,
        stage_rates={key: each for key, each in stage_rates.items() if each is not None},
        rates={unit: each for unit, each in rates.items() if each is not None},
    )


def _rate_per_s(work: tuple[float, float] | None) -> float | None:
    return None if work is None else work[0] / work[1]
