"""One pass: everything that has expired goes, batch by batch; or it is only said what would go.

Reads and writes the store. Runs in one thread; each batch is a transaction of its own, so that a
pass can be ended, or killed, at any time, and the next one goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection

from fiveobs.monitor.retention.counting import Expired, count_jobs, count_leftover
from fiveobs.monitor.retention.expired import Kind, Span, kinds_of, next_jobs, spans_of
from fiveobs.monitor.retention.keeps import Project, projects_of
from fiveobs.monitor.retention.leftovers import (
    Leftover,
    LeftoverSweep,
    is_there,
    leftovers,
    old_aggregates,
)
from fiveobs.monitor.retention.pace import Pace
from fiveobs.monitor.retention.policy import Policy
from fiveobs.monitor.retention.sweeps import JobSweep, Sweep
from fiveobs.monitor.store.engine import Store

__all__ = ["Cleaner", "Gone", "Passed"]

_US = 1_000_000
#: How long a batch may take, in seconds. SQLite has one writer; with PostgreSQL only batches that
#: delete jobs or measures are in the way of ingest.
_SQLITE_BATCH_S, _POSTGRESQL_BATCH_S = 0.015, 0.05
_Find: TypeAlias = Callable[[Connection, Mapping[int, Project], int], Iterator[Leftover]]


class Gone(NamedTuple):
    """Whose rows of which table went, and as which part."""

    tenant_id: str
    project_id: str
    part: str
    table: str


class Passed(NamedTuple):
    """What a pass has done."""

    rows: Counter[Gone]
    #: Everything was looked at; false if it was ended before.
    is_complete: bool
    took_s: float


class Cleaner:
    """Takes out of a store what has expired.

    Args:
        store: Which.
        policy: How long everything is kept where no tenant or project says otherwise.
        now: Seconds since 1970.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._policy = policy
        self._now = now
        self._clock = clock

    def clean(
        self, stop: threading.Event, *, told: Callable[[Gone, int], None] | None = None
    ) -> Passed:
        """Take out everything that has expired by now.

        Args:
            stop: Ends it after the batch that it is in.
            told: Called after each batch with what has gone, and how many rows.

        Raises:
            sqlalchemy.exc.DBAPIError: The store cannot be reached, or refuses.
        """
        began_s, rows = self._clock(), Counter[Gone]()
        batch_s = _SQLITE_BATCH_S if self._store.is_sqlite else _POSTGRESQL_BATCH_S
        pace = Pace(lambda: self._store.writers, batch_s=batch_s, wait=stop.wait, clock=self._clock)
        for project, part, sweep in self._sweeps():
            for table, count in self._swept(sweep, pace):
                gone = Gone(project.tenant_id, project.project_id, part, table)
                rows[gone] += count
                if told is not None:
                    told(gone, count)
            if stop.is_set():
                break
        return Passed(rows, not stop.is_set(), self._clock() - began_s)

    def _swept(self, sweep: Sweep, pace: Pace) -> Iterator[tuple[str, int]]:
        """Take what a sweep finds: the rows of each batch, by table."""
        is_done = False
        while not is_done and not pace.is_over:
            pace.let_pass()
            with self._store.writing() as connection:
                taken, is_done = sweep.step(connection, pace.rows)
            pace.done()
            yield from taken.items()

    def count(self) -> list[Expired]:
        """What has expired and is still there, by project, part and table; much is estimated."""
        found: dict[Gone, Expired] = {}
        for each in self._counts():
            project = each.project
            whose = Gone(project.tenant_id, project.project_id, each.part, each.table)
            found[whose] = each if whose not in found else found[whose].with_(each)
        return [found[whose] for whose in sorted(found)]

    def _counts(self) -> Iterator[Expired]:
        for each in self._expired():
            with self._store.reading() as connection:
                if isinstance(each, Leftover):
                    yield count_leftover(connection, each)
                else:
                    yield from [found for found in count_jobs(connection, each) if found.rows]

    # --- what has expired ------------------------------------------------------------------------

    def _sweeps(self) -> Iterator[tuple[Project, str, Sweep]]:
        for each in self._expired():
            if isinstance(each, Leftover):
                yield each.project, each.part, LeftoverSweep(each)
            else:
                yield each.kind.project, each.part, JobSweep(each)

    def _expired(self) -> Iterator[Leftover | Span]:
        yield from self._leftovers(leftovers)
        yield from self._spans()
        yield from self._leftovers(old_aggregates)

    def _leftovers(self, find: _Find) -> list[Leftover]:
        with self._store.reading() as connection:
            projects = {each.project_key: each for each in projects_of(connection, self._policy)}
            found = find(connection, projects, self._now_us())
            return [each for each in found if is_there(connection, each)]

    def _spans(self) -> Iterator[Span]:
        for kind in self._kinds():
            # Read anew for each kind: a transaction that is open for long keeps SQLite from
            # using its log again, and PostgreSQL from freeing rows.
            with self._store.reading() as connection:
                found = spans_of(connection, kind, self._now_us())
                found = [each for each in found if next_jobs(connection, each, 1)]
            yield from found

    def _kinds(self) -> list[Kind]:
        with self._store.reading() as connection:
            projects = projects_of(connection, self._policy)
            return [kind for each in projects for kind in kinds_of(connection, each)]

    def _now_us(self) -> int:
        return round(self._now() * _US)
