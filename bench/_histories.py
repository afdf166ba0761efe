"""Made histories of one kind of job: as unruly as real ones, with one planted defect or none.

What is drawn for every history, clean ones included (uniformly from the ranges named here, unless
said otherwise): 15 to 35 days of 60 to 250 jobs a day, more at one hour than at another, fewer at
weekends, some days busier than others; 3 to 6 steps whose durations are log-normal and move
together within a run (how much there is to do), with the machine, the release, the hour (up to 15%
over a day, and load that lasts some hours); runs in which one step takes 3 to 10 times as long;
several machines and workers, which restart now and then and at every release; memory that grows
while caches warm up, wanders, and is higher in some runs; queue waits; a few percent that fail at
some steps more than at others, are tried again, and fail again more often; figures that are
missing, here and there or throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.signal import lfilter

from fiveobs.monitor.analytics.columns import Floats, Ints, Mask, Runs, Steps, Texts

__all__ = ["DEFECTS", "History", "make_history"]

DAY_S, HOUR_S = 86_400.0, 3_600.0
#: A Monday, in seconds since 1970.
FIRST_S = 1_799_625_600.0
MB = 1_000_000.0

#: What can be planted, and how large: drawn uniformly from the range.
DEFECTS = {
    #: One step takes so many times as long, for the last 10% to 50% of the time.
    "bottleneck": (1.5, 3.0),
    #: Every run, or every one of a release, leaves some memory behind: over a worker's usual life
    #: this share of what it had.
    "leak": (0.15, 1.0),
    #: Runs of one release, at least 100 of them, fail so much more often.
    "release": (0.10, 0.40),
    #: At one hour of the day, or of the week, all steps take so many times as long.
    "spike": (1.5, 3.0),
}
#: The runs in the slot of a spike: of the day, of the week, on at least so many days.
SPIKE_RUNS, SPIKE_DAYS = 30, 4

_ERRORS = (
    ("TimeoutError", "GET https://api.example.com/items/{0} timed out after {1} s"),
    ("ValueError", "row {1}: column 'amount' has {0!r}, which is no number"),
    ("OSError", "[Errno 28] No space left on device: '/var/data/part-{0}.parquet'"),
    ("KeyError", "'customer-{0}'"),
    ("MemoryError", "cannot allocate {1} bytes at 0x7f{0}"),
)


@dataclass(frozen=True, kw_only=True)
class History:
    """What was made, and what is wrong with it."""

    runs: Runs
    steps: Steps
    now_s: float
    #: The name of the step or release, or the hour as ``9`` or ``2-9`` (Monday is 0).
    planted: str
    size: float
    #: Runs of which a step took much longer than usual, by place: these are unusual indeed.
    outliers: Mask


class _Maker:
    """One history on its way: each method draws one side of it."""

    def __init__(self, seed: Any, defect: str | None) -> None:
        self.chance = np.random.default_rng(seed)
        self.defect = defect
        self.size = self.between(*DEFECTS[defect]) if defect else 0.0
        self.planted = ""

    def between(self, low: float, high: float) -> float:
        return float(self.chance.uniform(low, high))

    def happens(self, probability: float) -> bool:
        return bool(self.chance.random() < probability)

    def noise(self, sigma: float, count: int) -> Floats:
        return self.chance.normal(0, sigma, count)

    # --- when, and where -------------------------------------------------------------------

    @cached_property
    def days(self) -> int:
        return int(self.chance.integers(28 if self.is_weekly else 15, 36))

    @cached_property
    def is_weekly(self) -> bool:
        return self.defect == "spike" and self.happens(0.5)

    @cached_property
    def per_day(self) -> float:
        return self.between(140 if self.is_weekly else 60, 250)

    @cached_property
    def now_s(self) -> float:
        return FIRST_S + self.days * DAY_S

    def begin_jobs(self) -> Floats:
        """When jobs begin: a cycle of the day, weekends, days that are busier than others."""
        hours = np.arange(self.days * 24)
        swing, peak = self.between(0, 0.8), self.between(0, 24)
        of_hour = 1 + swing * np.cos(2 * np.pi * (hours % 24 - peak) / 24)
        of_day = np.where((hours // 24) % 7 >= 5, self.between(0.3, 1), 1)
        busy = np.exp(self.noise(self.between(0, 0.15), self.days))[hours // 24]
        growth = 1 + self.between(-0.1, 0.3) * hours / len(hours)
        counts = self.chance.poisson(self.per_day / 24 * of_hour * of_day * busy * growth)
        begun = np.repeat(hours, counts) * HOUR_S + self.chance.uniform(0, HOUR_S, counts.sum())
        return np.sort(FIRST_S + begun)

    def attempts(self, begun: Floats) -> tuple[Ints, Ints, Floats]:
        """Job, attempt and beginning of every attempt; who failed is tried again, mostly."""
        job, at = np.arange(len(begun)), begun
        again, fails = self.between(0.5, 0.95), self.between(0.1, 0.4)
        jobs, numbers, begins, failed = [], [], [], []
        chance_of = np.full(len(begun), self.between(0.01, 0.05))
        for number in (1, 2, 3):
            drawn = self.chance.random(len(job))
            jobs.append(job)
            numbers.append(np.full(len(job), number))
            begins.append(at)
            failed.append(drawn < chance_of)
            goes_on = failed[-1] & (self.chance.random(len(job)) < again)
            job, at = job[goes_on], at[goes_on] + self.chance.uniform(60, 600, goes_on.sum())
            chance_of = np.full(len(job), fails)
        order = np.argsort(np.concatenate(begins), kind="stable")
        self.is_failed: Mask = np.concatenate(failed)[order]
        parts = (np.concatenate(each)[order] for each in (jobs, numbers, begins))
        return tuple(parts)  # type: ignore[return-value]

    def place(self, at: Floats) -> None:
        """On which worker, machine and release; workers restart, and at each release."""
        self.at = at
        machines = int(self.chance.integers(2, 7))
        most = max(int(self.per_day / 15), 2)
        slots = min(machines * int(self.chance.integers(1, 4)), most)
        self.slot: Ints = self.chance.integers(0, slots, len(at))
        self.machine: Ints = self.slot % machines
        cuts = self.chance.dirichlet(np.full(int(self.chance.integers(2, 6)), 4.0)).cumsum()[:-1]
        deployed = FIRST_S + self.days * DAY_S * cuts
        slow = self.chance.uniform(0, 6 * HOUR_S, slots)  # a roll-out takes hours
        self.release: Ints = np.searchsorted(deployed, at - slow[self.slot])
        restarts = np.zeros(len(at), np.int64)
        lasts_s = self.between(2, 10) * DAY_S
        for slot in range(slots):
            on = self.slot == slot
            ends = FIRST_S + np.cumsum(self.chance.exponential(lasts_s, self.days * 2))
            restarts[on] = np.searchsorted(ends, at[on])
        lives = self.slot * 1_000_000 + restarts * 100 + self.release
        _, self.life = np.unique(lives, return_inverse=True)
        self.is_named_after_slot = self.happens(0.5)

    def of_hours(self, sigma: float, hold: float) -> Floats:
        """For each attempt, what lasts some hours: an AR(1) of the hours."""
        hours = np.minimum(((self.at - FIRST_S) // HOUR_S).astype(int), self.days * 24)
        drawn = self.noise(sigma * np.sqrt(1 - hold**2), self.days * 24 + 1)
        return np.asarray(lfilter([1.0], [1.0, -hold], drawn))[hours]

    # --- how long ------------------------------------------------------------------------------

    def take(self) -> Floats:
        """Seconds of each step in each attempt: one row an attempt."""
        count, self.step_count = len(self.at), int(self.chance.integers(3, 7))
        usual = np.exp(self.chance.uniform(np.log(0.3), np.log(60), self.step_count))
        whole = self.noise(self.between(0.05, 0.3), count)
        whole += self.noise(0.05, 10)[self.machine] + self.noise(0.03, 10)[self.release]
        whole += self.of_hours(self.between(0.02, 0.08), 0.8)
        swing, peak = self.between(0, 0.15), self.between(0, 2 * np.pi)
        whole += swing * np.cos(2 * np.pi * self.at / DAY_S - peak)
        logs = whole[:, None] + np.column_stack(
            [self.noise(self.between(0.1, 0.45), count) for _ in range(self.step_count)]
        )
        took = usual * np.exp(logs)
        if self.defect == "spike":
            took[self.in_spike()] *= self.size
        self.works_s = took.copy()
        if self.defect == "bottleneck":
            self.slow_down(took)
        self.outliers: Mask = self.chance.random(count) < self.between(0.002, 0.01)
        rows = np.flatnonzero(self.outliers)
        took[rows, self.chance.integers(0, self.step_count, len(rows))] *= self.chance.uniform(
            3, 10, len(rows)
        )
        return took

    def slow_down(self, took: Floats) -> None:
        step = int(self.chance.integers(0, self.step_count))
        since = FIRST_S + self.days * DAY_S * self.between(0.5, 0.9)
        took[self.at >= since, step] *= self.size
        if self.happens(0.5):  # it works longer; else it waits
            self.works_s[self.at >= since, step] *= self.size
        self.planted = f"step-{step}"

    def in_spike(self) -> Mask:
        hour = ((self.at % DAY_S) // HOUR_S).astype(int)
        day = ((self.at - FIRST_S) // DAY_S).astype(int)
        slot = (day % 7) * 24 + hour if self.is_weekly else hour
        found = []
        for each in np.unique(slot):
            is_in = slot == each
            if is_in.sum() >= SPIKE_RUNS and len(np.unique(day[is_in])) >= SPIKE_DAYS:
                found.append(int(each))
        if not found:
            found = [int(np.bincount(slot).argmax())]
        chosen = int(self.chance.choice(found))
        self.planted = f"{chosen // 24}-{chosen % 24}" if self.is_weekly else str(chosen)
        return np.asarray(slot == chosen)

    # --- what it used --------------------------------------------------------------------------

    def use_cpu(self) -> Floats:
        """Seconds of CPU of each step in each attempt."""
        share = np.clip(self.chance.beta(2, 2, self.step_count), 0.05, 0.98)
        found = (
            self.works_s
            * share
            * np.exp(self.noise(0.05, self.works_s.size)).reshape(self.works_s.shape)
        )
        return self.with_gaps(found, self.between(0.02, 0.1), 0.1)

    def use_memory(self) -> Floats:
        """Resident bytes at the end of each step of each attempt."""
        count, had = len(self.at), float(np.exp(self.between(np.log(80 * MB), np.log(1500 * MB))))
        order = np.lexsort((self.at, self.life))
        first = np.r_[True, np.diff(self.life[order]) > 0]
        within = np.arange(count) - np.maximum.accumulate(np.where(first, np.arange(count), 0))
        number = np.empty(count)
        number[order] = within
        grows = self.between(0, 0.3) * -np.expm1(-number / self.between(3, 20))
        drawn = self.noise(self.between(0.005, 0.02) * np.sqrt(1 - 0.9**2), count)
        wanders = np.empty(count)
        wanders[order] = lfilter([1.0], [1.0, -0.9], drawn)
        peaks = np.where(self.chance.random(count) < 0.005, self.chance.uniform(0.3, 1, count), 0)
        more = np.abs(self.noise(self.between(0.01, 0.04), count))
        level = 1 + grows + wanders + peaks + more
        if self.defect == "leak":
            leaks = self.leaking()
            usual_life = float(np.median(np.bincount(self.life)[self.life[leaks]]))
            level += np.where(leaks, number * self.size / usual_life, 0)
        of_step = self.chance.uniform(0, 0.3, self.step_count)
        found = had * (level[:, None] + of_step)
        return self.with_gaps(np.round(found), self.between(0.02, 0.1), 0)

    def leaking(self) -> Mask:
        """Runs of processes that leak: all, or in half of the histories those of one release."""
        counts, lives = np.bincount(self.release), np.bincount(self.life)[self.life]
        usual_life = [np.median(lives[self.release == each]) for each in range(len(counts))]
        fit = [
            each for each in range(1, len(counts)) if counts[each] >= 100 and usual_life[each] >= 60
        ]
        if not fit or self.happens(0.5):
            return np.ones(len(self.at), np.bool_)
        chosen = int(self.chance.choice(fit))
        self.planted = f"1.{chosen}.0"
        return np.asarray(self.release == chosen)

    def with_gaps(self, values: Floats, share: float, nothing: float) -> Floats:
        """With a share missing, or perhaps everything."""
        share = 1.0 if self.happens(nothing) else share
        return np.where(self.chance.random(values.shape) < share, np.nan, values)

    # --- what failed -----------------------------------------------------------------------

    def fail(self) -> None:
        """Plant the failing release: its attempts fail as often as before, and more."""
        counts = np.bincount(self.release)
        later = [int(each) for each in np.flatnonzero(counts >= 100) if each > 0]
        chosen = int(self.chance.choice(later)) if later else int(counts[1:].argmax()) + 1
        hit = (self.release == chosen) & (self.chance.random(len(self.at)) < self.size)
        self.is_failed = self.is_failed | hit
        self.planted = f"1.{chosen}.0"

    def errors(self, failed: Mask) -> tuple[Texts, Texts]:
        types, messages = _empty(len(failed)), _empty(len(failed))
        known = self.chance.permutation(len(_ERRORS))[: int(self.chance.integers(2, 5))]
        for place in np.flatnonzero(failed):
            kind, message = _ERRORS[known[int(len(known) * self.chance.random() ** 2)]]
            types[place] = kind
            messages[place] = message.format(*self.chance.integers(100, 1_000_000, 2))
        return types, messages


def make_history(seed: Any, defect: str | None = None) -> History:
    """A history.

    Args:
        seed: The same seed and defect make the same history.
        defect: One of `DEFECTS`; ``None`` makes a clean one.
    """
    maker = _Maker(seed, defect)
    job, attempt, at = maker.attempts(maker.begin_jobs())
    maker.place(at)
    if defect == "release":
        maker.fail()
    took = maker.take()
    ran = _until_failure(maker, took)
    runs = _runs(maker, job, attempt, np.where(ran, took, 0).sum(axis=1))
    return History(
        runs=runs,
        steps=_steps(maker, ran, took),
        now_s=maker.now_s,
        planted=maker.planted,
        size=maker.size,
        outliers=maker.outliers,
    )


def _until_failure(maker: _Maker, took: Floats) -> Mask:
    """Which steps of which attempts began: none after the one that failed."""
    likely = maker.chance.dirichlet(np.full(maker.step_count, 0.7))
    last = maker.chance.choice(maker.step_count, len(took), p=likely)
    maker.failed_at = np.where(maker.is_failed, last, maker.step_count)
    places = np.arange(maker.step_count)
    at_failure = places[None, :] == maker.failed_at[:, None]
    took *= np.where(at_failure, maker.chance.uniform(0.1, 1, took.shape), 1)
    maker.works_s *= np.where(at_failure, 0.5, 1)
    return places[None, :] <= maker.failed_at[:, None]


def _runs(maker: _Maker, job: Ints, attempt: Ints, took_s: Floats) -> Runs:
    count, chance = len(job), maker.chance
    types, messages = maker.errors(maker.is_failed)
    status = _empty(count)
    status[:] = "completed"
    status[chance.random(count) < 0.005] = "cancelled"
    status[maker.is_failed] = "failed"
    status[maker.is_failed & (chance.random(count) < 0.05)] = "lost"
    worker = maker.slot if maker.is_named_after_slot else maker.life
    wait = chance.exponential(maker.between(0.5, 20), count)
    wait *= np.exp(maker.of_hours(0.1, 0.8))
    return Runs(
        job_key=job,
        job_id=_named("job-", job),
        attempt=attempt,
        status=status,
        started_at_s=maker.at,
        ended_at_s=maker.at + took_s,
        duration_s=maker.with_gaps(took_s, 0.002, 0),
        queue_wait_s=maker.with_gaps(wait, 0.1, 0.2),
        cpu_s=maker.with_gaps(took_s * 0.5, 0.02, 0.1),
        input_size_bytes=np.full(count, np.nan),
        worker_key=maker.life,
        worker=_named("worker-", worker),
        machine=_named("machine-", maker.machine),
        release=_named("1.", maker.release, ".0"),
        error_type=types,
        error_message=messages,
    )


def _steps(maker: _Maker, ran: Mask, took: Floats) -> Steps:
    cpu_s, memory = maker.use_cpu()[ran], maker.use_memory()[ran]
    run, place = np.nonzero(ran)
    begun = maker.at[:, None] + np.cumsum(took, axis=1) - took
    status, types = _empty(len(run)), _empty(len(run))
    status[:] = "completed"
    status[place == maker.failed_at[run]] = "failed"
    unknown = np.full(len(run), np.nan)
    return Steps(
        run=run,
        step=_named("step-", place),
        status=status,
        started_at_s=begun[ran],
        duration_s=maker.with_gaps(took[ran], 0.01, 0),
        cpu_s=cpu_s,
        memory_bytes=memory,
        memory_growth_bytes=unknown,
        io_read_bytes=unknown,
        io_write_bytes=unknown,
        error_type=types,
    )


def _empty(count: int) -> Texts:
    found = np.empty(count, dtype=object)
    found[:] = ""
    return found


def _named(before: str, numbers: Ints, after: str = "") -> Texts:
    names = _empty(int(numbers.max()) + 1)
    names[:] = [f"{before}{number}{after}" for number in range(len(names))]
    return names[numbers]
