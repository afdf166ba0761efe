"""What fails, where, since when, and what those that fail have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

import numpy as np

from fiveobs.monitor.analytics.columns import Coded, Ints, Mask, Runs, Steps, Texts, coded
from fiveobs.monitor.analytics.fingerprints import fingerprint
from fiveobs.monitor.analytics.rates import more_often, wilson
from fiveobs.monitor.analytics.robust import ALPHA, corrected, rise_of

__all__ = [
    "DIMENSIONS",
    "FEWEST",
    "ErrorGroup",
    "FailureAnalysis",
    "FailureOnset",
    "FailureRate",
    "Suspect",
    "analyse_failures",
    "error_groups",
]

#: What failures are counted by.
DIMENSIONS = ("step", "worker", "machine", "release", "attempt")
#: Where the same work should fail equally often, so that a difference is somebody's fault; in case
#: of doubt the first of them. Steps differ in what they do, and who is tried again has failed.
_SUSPECTED = ("release", "machine", "worker")
#: Runs of a value that are needed to test it.
FEWEST = 10
#: What fails by fewer points or times more often than the rest is no finding.
LEAST_POINTS, LEAST_TIMES = 0.05, 1.5
#: What is shown at most, of each: groups of errors, values of a dimension, jobs of a group.
_MOST_GROUPS, _MOST_VALUES, _MOST_JOBS = 50, 50, 5
_MOST_SUSPECTS = 5
#: Runs that are needed before and after the failures began.
_FEWEST_AROUND = 20
#: A release began together with the failures if that was this close, as a share of the time.
_CLOSE = 0.03


@dataclass(frozen=True, kw_only=True)
class ErrorGroup:
    """Failures that are the same error."""

    #: Stays the same from one analysis to the next.
    group_id: str
    fingerprint: str
    error_type: str
    count: int
    #: Of all failures.
    share: float
    first_seen_at_s: float
    last_seen_at_s: float
    #: Of the last one.
    message: str
    #: The last jobs that failed so, the newest first.
    job_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FailureRate:
    """How often runs of one step, worker, machine, release or attempt fail."""

    dimension: str
    value: str
    count: int
    failed: int
    share: float
    #: The 95% confidence interval of the share.
    low: float
    high: float
    #: How often the rest fails; ``None`` if there is none.
    other_share: float | None
    #: How likely so many failures are by chance, did it fail as often as the rest, given how many
    #: values the dimension has.
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A release, machine or worker that fails more often than what no other suspect explains."""

    dimension: str
    value: str
    count: int
    failed: int
    share: float
    other_share: float
    #: By how many points it fails more often, from 0 to 1, and how many times as often; ``None`` if
    #: the rest never fails.
    difference: float
    ratio: float | None
    #: How likely that is by chance, given how many values were tested.
    p_value: float
    #: The first run with that value.
    first_seen_at_s: float


@dataclass(frozen=True, kw_only=True)
class FailureOnset:
    """When failures became more frequent."""

    began_at_s: float
    before_share: float
    before_count: int
    since_share: float
    since_count: int
    p_value: float
    #: The release whose first run was about then; empty if none was.
    release: str


@dataclass(frozen=True, kw_only=True)
class FailureAnalysis:
    """What fails and why, as far as that can be told."""

    #: Those that were completed or failed; who was stopped, cancelled or interrupted did neither.
    run_count: int
    failed_count: int
    #: The most frequent first.
    groups: tuple[ErrorGroup, ...]
    #: Of each dimension the values that fail most often.
    rates: tuple[FailureRate, ...]
    #: The surest first.
    suspects: tuple[Suspect, ...]
    #: ``None`` if failures are as frequent as ever.
    onset: FailureOnset | None


def analyse_failures(runs: Runs, steps: Steps) -> FailureAnalysis:
    """Group errors, compare rates, and look for what those that fail have in common.

    Args:
        runs: Of one kind of job.
        steps: Theirs.
    """
    over = runs.where(runs.is_completed | runs.is_failed)
    dimensions = {
        "worker": over.worker,
        "machine": over.machine,
        "release": over.release,
        "attempt": _as_texts(over.attempt),
    }
    tables = {name: _Table.of(values, over.is_failed) for name, values in dimensions.items()}
    tables["step"] = _of_steps(steps)
    return FailureAnalysis(
        run_count=len(over),
        failed_count=int(over.is_failed.sum()),
        groups=tuple(islice(error_groups(over.where(over.is_failed)), _MOST_GROUPS)),
        rates=tuple(rate for name in DIMENSIONS for rate in tables[name].rates(name)),
        suspects=tuple(_suspects(over, {name: tables[name] for name in _SUSPECTED})),
        onset=_onset(over),
    )


def _as_texts(numbers: Ints) -> Texts:
    found = np.empty(len(numbers), dtype=object)
    found[:] = [str(number) for number in numbers]
    return found


def _of_steps(steps: Steps) -> _Table:
    is_over = steps.is_failed | (steps.status == "completed")
    return _Table.of(steps.step[is_over], steps.is_failed[is_over])


# --- errors ------------------------------------------------------------------------------------


def error_groups(failed: Runs) -> Iterator[ErrorGroup]:
    """Failures by what error they are, the most frequent first; one without a type has its status.

    Args:
        failed: Runs that failed, in the order of time.
    """
    kinds = [
        error or status for error, status in zip(failed.error_type, failed.status, strict=True)
    ]
    seen: dict[tuple[str, str], str] = {}
    places: dict[tuple[str, str], list[int]] = {}
    for place, pair in enumerate(zip(kinds, failed.error_message, strict=True)):
        name = seen.get(pair)
        if name is None:
            name = seen[pair] = fingerprint(*pair)
        places.setdefault((name, pair[0]), []).append(place)
    ordered = sorted(places.items(), key=lambda each: (-len(each[1]), each[0]))
    for (name, kind), members in ordered:
        jobs = dict.fromkeys(failed.job_id[place] for place in reversed(members[-_MOST_JOBS:]))
        yield ErrorGroup(
            group_id=sha256(name.encode()).hexdigest()[:16],
            fingerprint=name,
            error_type=kind,
            count=len(members),
            share=len(members) / len(failed),
            first_seen_at_s=float(failed.started_at_s[members[0]]),
            last_seen_at_s=float(failed.started_at_s[members[-1]]),
            message=str(failed.error_message[members[-1]]),
            job_ids=tuple(jobs),
        )


# --- rates -------------------------------------------------------------------------------------


class _Table(NamedTuple):
    """How many of each value there are, and how many of those failed."""

    values: Coded
    is_failed: Mask

    @classmethod
    def of(cls, texts: Texts, is_failed: Mask) -> _Table:
        """Of those whose value is known."""
        known = np.asarray(texts != "", dtype=np.bool_)
        return cls(coded(texts[known]), is_failed[known])

    def counts(self) -> tuple[Ints, Ints]:
        """Of each value: all, and failed."""
        size, codes = len(self.values.names), self.values.codes
        failed = np.bincount(codes[self.is_failed], minlength=size)
        return np.bincount(codes, minlength=size), failed

    def rates(self, dimension: str) -> Iterator[FailureRate]:
        """The values that fail most often."""
        counts, failed = self.counts()
        all_count, all_failed = len(self.is_failed), int(self.is_failed.sum())
        chances = corrected(more_often(failed, counts, all_failed, all_count), len(counts))
        shares = failed / counts
        for place in np.lexsort((-counts, -shares))[:_MOST_VALUES]:
            count, bad = int(counts[place]), int(failed[place])
            interval, others = wilson(bad, count), all_count - count
            yield FailureRate(
                dimension=dimension,
                value=self.values.names[place],
                count=count,
                failed=bad,
                share=bad / count,
                low=interval.low,
                high=interval.high,
                other_share=(all_failed - bad) / others if others else None,
                p_value=float(chances[place]),
            )


# --- what they have in common ------------------------------------------------------------------


class _Values(NamedTuple):
    """A dimension of all runs: -1 where it is not known."""

    dimension: str
    names: list[str]
    codes: Ints


def _suspects(runs: Runs, tables: dict[str, _Table]) -> Iterator[Suspect]:
    """The surest, then the surest of the runs that it does not explain, and so on."""
    tested = sum(int((table.counts()[0] >= FEWEST).sum()) for table in tables.values())
    dimensions = [
        _Values(name, table.values.names, _spread(getattr(runs, name), table.values.codes))
        for name, table in tables.items()
    ]
    is_left = np.ones(len(runs), np.bool_)
    for _ in range(_MOST_SUSPECTS):
        found = [each for values in dimensions for each in _tested(runs, values, is_left, tested)]
        if not found:
            return
        surest, is_its = min(found, key=lambda pair: pair[0].p_value)
        yield surest
        is_left &= ~is_its


def _spread(texts: Texts, codes: Ints) -> Ints:
    found = np.full(len(texts), -1)
    found[np.asarray(texts != "", dtype=np.bool_)] = codes
    return found


def _tested(
    runs: Runs, values: _Values, is_left: Mask, tested: int
) -> Iterator[tuple[Suspect, Mask]]:
    """The values that fail too often among the runs that are left; which runs are theirs."""
    kept = is_left & (values.codes >= 0)
    codes, is_failed = values.codes[kept], runs.is_failed[kept]
    counts = np.bincount(codes, minlength=len(values.names))
    failed = np.bincount(codes[is_failed], minlength=len(values.names))
    all_count, all_failed = len(codes), int(is_failed.sum())
    chances = corrected(more_often(failed, counts, all_failed, all_count), tested)
    for place in np.flatnonzero((counts >= FEWEST) & (chances < ALPHA) & (counts < all_count)):
        count, bad = int(counts[place]), int(failed[place])
        share, other = bad / count, (all_failed - bad) / (all_count - count)
        if share - other < LEAST_POINTS or share < LEAST_TIMES * other:
            continue
        is_its = values.codes == place
        suspect = Suspect(
            dimension=values.dimension,
            value=values.names[place],
            count=count,
            failed=bad,
            share=share,
            other_share=other,
            difference=share - other,
            ratio=share / other if other else None,
            p_value=float(chances[place]),
            first_seen_at_s=float(runs.started_at_s[np.argmax(is_its)]),
        )
        yield suspect, is_its


def _onset(runs: Runs) -> FailureOnset | None:
    is_failed = runs.is_failed.astype(np.float64)
    rise = rise_of(is_failed, _FEWEST_AROUND)
    if rise is None or rise.p_value >= ALPHA:
        return None
    before, since = float(is_failed[: rise.place].mean()), float(is_failed[rise.place :].mean())
    if since - before < LEAST_POINTS or since < LEAST_TIMES * before:
        return None
    at_s = float(runs.started_at_s[rise.place])
    return FailureOnset(
        began_at_s=at_s,
        before_share=before,
        before_count=rise.place,
        since_share=since,
        since_count=len(runs) - rise.place,
        p_value=rise.p_value,
        release=_release_of(runs, at_s),
    )


def _release_of(runs: Runs, at_s: float) -> str:
    """The release that began about then."""
    close_s = _CLOSE * float(runs.started_at_s[-1] - runs.started_at_s[0])
    seen: dict[str, float] = {}
    for release, began_s in zip(runs.release, runs.started_at_s.tolist(), strict=True):
        seen.setdefault(release, began_s)
    seen.pop("", None)
    if len(seen) > 1:  # the first one has always been there
        del seen[min(seen, key=lambda name: seen[name])]
        nearest = min(seen, key=lambda name: abs(seen[name] - at_s))
        return nearest if abs(seen[nearest] - at_s) <= close_s else ""
    return ""
