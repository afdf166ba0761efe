"""Past runs of the same kind of job, as estimates and comparisons need them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, median
from typing import Any, NamedTuple

from fiveobs.monitor.store.rows import RunRow, StageRow
from fiveobs.monitor.tracking.human import US
from fiveobs.monitor.tracking.throughput import DEFAULT_UNIT, counted_in

__all__ = ["MIN_RUNS", "MOST_RUNS", "History", "PastRun", "Spread", "spread", "to_history"]

#: The most recent runs that are looked at; more would say little about how it is now.
MOST_RUNS = 100
#: With fewer, nothing is concluded from them.
MIN_RUNS = 5
#: The interval goes from this share of past runs to that.
LOW, HIGH = 0.1, 0.9


class Spread(NamedTuple):
    """What past runs took, in seconds: the usual, and between what eight in ten of them lie."""

    low_s: float
    usual_s: float
    high_s: float
    runs: int


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
    def usual(self) -> Spread | None:
        """How long they took; ``None`` below `MIN_RUNS`."""
        return spread(self._sorted_s) if len(self.runs) >= MIN_RUNS else None

    @cached_property
    def _sorted_s(self) -> list[float]:
        return sorted(self.durations_s)

    @cached_property
    def _known(self) -> dict[Any, Any]:
        """What was worked out already: many jobs of one kind ask for the same."""
        return {}

    def longer_than(self, elapsed_s: float) -> Spread | None:
        """How long those runs took that took longer; ``None`` if none did."""
        first = bisect_right(self._sorted_s, elapsed_s)
        key = "longer", first
        if key not in self._known:
            self._known[key] = spread(self._sorted_s, first)
        known: Spread | None = self._known[key]
        return known

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

    def stage_usual(self, stage: str) -> Spread | None:
        """How long a stage takes; ``None`` below `MIN_RUNS` runs that had it."""
        key = "usual", stage
        if key not in self._known:
            found = sorted(run.stages[stage] for run in self.runs if stage in run.stages)
            self._known[key] = spread(found) if len(found) >= MIN_RUNS else None
        known: Spread | None = self._known[key]
        return known

    def stage_median_s(self, stage: str) -> float | None:
        """How long a stage usually takes, in seconds; ``None`` as for `stage_usual`."""
        usual = self.stage_usual(stage)
        return None if usual is None else usual.usual_s

    def weights(self, stages: tuple[str, ...]) -> Mapping[str, float]:
        """How much each of a run's stages weighs: as long as it usually takes, or all alike."""
        key = "weights", stages
        if key not in self._known:
            usual = {name: self.stage_median_s(name) for name in stages}
            self._known[key] = usual if all(usual.values()) else dict.fromkeys(stages, 1.0)
        known: Mapping[str, float] = self._known[key]
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


def spread(ordered: Sequence[float], first: int = 0) -> Spread | None:
    """The spread of some durations; ``None`` of none.

    Source: quantiles by the definition with n - 1 intervals (R's type 7), interpolated.

    Args:
        ordered: In seconds, the shortest first.
        first: The place of the first that is meant.
    """
    runs = len(ordered) - first
    if runs <= 0:
        return None
    return Spread(
        low_s=_quantile(ordered, first, LOW),
        usual_s=_quantile(ordered, first, 0.5),
        high_s=_quantile(ordered, first, HIGH),
        runs=runs,
    )


def _quantile(ordered: Sequence[float], first: int, share: float) -> float:
    place = first + (len(ordered) - 1 - first) * share
    low = int(place)
    low_s, high_s = ordered[low], ordered[min(low + 1, len(ordered) - 1)]
    return low_s + (high_s - low_s) * (place - low)


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
