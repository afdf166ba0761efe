"""Which steps take a job's time, CPU and memory, and which of them have come to take more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Steps
from fiveobs.monitor.analytics.robust import (
    ALPHA,
    Rise,
    cliffs_delta,
    corrected,
    log_of,
    rise_of,
    shift,
)

__all__ = ["FEWEST", "Bottlenecks", "Growth", "StepUse", "find_bottlenecks"]

#: Figures of a step that are needed before and after a change.
FEWEST = 20
#: What has grown by less, or lies above what was before less clearly (`Growth.effect`), is no
#: finding, however sure it is.
LEAST_RATIO, LEAST_EFFECT = 1.25, 0.25
#: A step dominates that takes more than this share of the time of all.
DOMINANT = 0.5
#: Rises that are looked at, each after the one before.
_MOST_RISES = 3
#: Steps that are looked at, those that take the most time.
_MOST_STEPS = 200
#: Smaller figures count as so small: seconds, bytes.
_LEAST = {"duration": 1e-3, "cpu": 1e-3, "memory": 1.0}


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A figure since the moment at which it is most clearly larger than before."""

    began_at_s: float
    #: Medians before and since then, and how many figures these rest on.
    before: float
    before_count: int
    since: float
    since_count: int
    #: How many times as large figures have become (Hodges and Lehmann, of logarithms).
    ratio: float
    #: How often a figure since then is above one before, less how often below (Cliff's delta).
    effect: float
    #: How likely that is by chance, given how many steps and figures were looked at.
    p_value: float

    @property
    def is_finding(self) -> bool:
        """Whether it is large enough and sure enough to speak of."""
        is_large = self.ratio >= LEAST_RATIO and self.effect >= LEAST_EFFECT
        return is_large and self.p_value < ALPHA


@dataclass(frozen=True, kw_only=True)
class StepUse:
    """What a step takes; only those that were completed are counted. ``None`` is not known."""

    step: str
    count: int
    median_duration_s: float | None
    p90_duration_s: float | None
    #: Of the time of all steps.
    time_share: float | None
    #: Of the CPU of all steps.
    cpu_share: float | None
    median_cpu_s: float | None
    median_memory_bytes: float | None
    is_dominant: bool
    #: How they have changed; ``None`` below twice `FEWEST` figures.
    duration: Growth | None
    cpu: Growth | None
    memory: Growth | None
    #: Which of the three have grown: ``duration``, ``cpu``, ``memory``.
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Bottlenecks:
    """The steps, those with the largest share of the time first; 200 of them at most."""

    steps: tuple[StepUse, ...]


def find_bottlenecks(steps: Steps) -> Bottlenecks:
    """Compare each step of one kind of job with its own history, and with the others."""
    done = steps.where(steps.status == "completed")
    coded = done.coded
    time_s, cpu_s = float(np.nansum(done.duration_s)), float(np.nansum(done.cpu_s))
    took_s = np.bincount(coded.codes, np.nan_to_num(done.duration_s), len(coded.names))
    order = np.argsort(coded.codes, kind="stable")
    bounds = np.searchsorted(coded.codes[order], np.arange(len(coded.names) + 1))
    found = []
    for place in np.argsort(-took_s, kind="stable")[:_MOST_STEPS]:
        of_step = done.where(order[bounds[place] : bounds[place + 1]])
        found.append(_use(coded.names[place], of_step, time_s, cpu_s, 3 * len(coded.names)))
    found.sort(key=lambda use: (-(use.time_share or 0.0), use.step))
    return Bottlenecks(steps=tuple(found))


def _use(name: str, steps: Steps, time_s: float, cpu_s: float, comparisons: int) -> StepUse:
    figures = {"duration": steps.duration_s, "cpu": steps.cpu_s, "memory": steps.memory_bytes}
    growth = {
        figure: _growth(steps.started_at_s, values, _LEAST[figure], comparisons)
        for figure, values in figures.items()
    }
    time_share = _share(steps.duration_s, time_s)
    return StepUse(
        step=name,
        count=len(steps),
        median_duration_s=_quantile(steps.duration_s, 0.5),
        p90_duration_s=_quantile(steps.duration_s, 0.9),
        time_share=time_share,
        cpu_share=_share(steps.cpu_s, cpu_s),
        median_cpu_s=_quantile(steps.cpu_s, 0.5),
        median_memory_bytes=_quantile(steps.memory_bytes, 0.5),
        is_dominant=(time_share or 0.0) > DOMINANT,
        **growth,
        reasons=tuple(name for name, each in growth.items() if each and each.is_finding),
    )


def _growth(at_s: Floats, values: Floats, least: float, comparisons: int) -> Growth | None:
    """The largest growth that is a finding, or else the clearest."""
    known = np.isfinite(values) & np.isfinite(at_s)
    at_s, values = at_s[known], values[known]
    logs = log_of(values, least)
    found = [_since(at_s, values, logs, rise, comparisons * _MOST_RISES) for rise in _rises(logs)]
    return max(found, key=lambda each: each.is_finding and each.ratio, default=None)


def _rises(logs: Floats) -> Iterator[Rise]:
    """The clearest rise, then the clearest after it, and so on: a small one may hide a large."""
    first = 0
    for _ in range(_MOST_RISES):
        rise = rise_of(logs[first:], FEWEST)
        if rise is None:
            return
        first += rise.place
        yield rise._replace(place=first)


def _since(at_s: Floats, values: Floats, logs: Floats, rise: Rise, comparisons: int) -> Growth:
    before, since = values[: rise.place], values[rise.place :]
    return Growth(
        began_at_s=float(at_s[rise.place]),
        before=float(np.median(before)),
        before_count=len(before),
        since=float(np.median(since)),
        since_count=len(since),
        ratio=float(np.exp(shift(logs[: rise.place], logs[rise.place :]))),
        effect=cliffs_delta(before, since),
        p_value=float(corrected(rise.p_value, comparisons)),
    )


def _quantile(values: Floats, share: float) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, share)) if len(known) else None


def _share(values: Floats, whole: float) -> float | None:
    return float(np.nansum(values)) / whole if whole > 0 else None
