"""Takes journals into the store: one transaction for each batch, rows and places together.

So each record counts once, however often the monitor is killed. One thread runs it; several
monitors may share a store, and then take turns by the lock that `Keys` holds.
"""

from __future__ import annotations

import contextlib
import gc
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiveobs.monitor.ingest.failures import StoreRefusesError, is_about_values
from fiveobs.monitor.ingest.follower import Follower, Place, first_line_with
from fiveobs.monitor.ingest.lines import Aside, Lines, Unreadable, reason
from fiveobs.monitor.ingest.loading import load_jobs, load_workers
from fiveobs.monitor.ingest.names import DEFAULT_PROJECT, DEFAULT_TENANT, Names, tenancy
from fiveobs.monitor.ingest.projection import REFUSALS, Projection, jobs_of
from fiveobs.monitor.ingest.states import FINAL, JobState, WorkerState
from fiveobs.monitor.ingest.writing import Keys, set_aside, write
from fiveobs.monitor.store.engine import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["DEFAULT_PROJECT", "DEFAULT_TENANT", "Ingester"]

#: Bytes of one transaction: large enough to be quick, small enough that readers see it soon.
_BATCH_BYTES = 4 * 1024 * 1024
_REST_S = 0.1
#: Jobs that are kept in memory between two batches.
_MOST_KEPT_JOBS = 5_000
_US = 1_000_000
#: So many lines are tried alone before any of a batch is held to be at fault.
_TRIED = 8
#: What every record has that tells whose its worker is.
_TELLING = b'"event_type":"worker.'


class _TrialOverError(Exception):
    """A batch can be stored; raised to take it back."""


class Ingester:
    """Reads every journal of a folder into a store.

    Args:
        store: Where to.
        folder: ``<FIVEOBS_HOME>/journal``.
        report: Called with a cause and a message when something goes wrong.
        now: Seconds since 1970.
        batch_bytes: How much is taken in by one transaction, about; it bounds the memory, too.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        *,
        report: Callable[[str, str], None],
        now: Callable[[], float] = time.time,
        batch_bytes: int = _BATCH_BYTES,
    ) -> None:
        self._batch_bytes = batch_bytes
        self._store = store
        self._folder = folder
        self._report = report
        self._now = now
        self._follower = Follower(folder, self._places, report=report)
        self._workers: dict[str, WorkerState] = {}
        self._jobs: dict[tuple[int, str], JobState] = {}
        self._names = Names()
        #: The keys as this ingester has left them; others mean that somebody else was here.
        self._last_keys: dict[str, int] = {}
        #: The newest event in the store, for whoever waits for it.
        self.event_key = 0

    def run(self, stop: threading.Event) -> None:
        """Take in what comes until told to stop; what goes wrong is reported and tried again."""
        while not stop.is_set():
            try:
                taken = self.step()
            except Exception as exc:
                self._report("ingest", f"{type(exc).__name__}: {exc}")
                taken = 0
            if not taken:
                stop.wait(_REST_S)

    def step(self) -> int:
        """Take in one batch; how many lines that was.

        Raises:
            OSError: The folder cannot be listed just now.
            sqlalchemy.exc.DBAPIError, psycopg.Error: The store cannot be reached, its disk is full,
                or its schema or our rights are not what they should be.
            StoreRefusesError: It takes no line, whichever is tried.
        """
        pieces = self._follower.read(self._batch_bytes)
        if not pieces:
            return 0
        return self._take_or_split([Lines.of(piece) for piece in pieces], is_whole=True)

    def _take_or_split(self, batch: list[Lines], *, is_whole: bool = False) -> int:
        """Take a batch in; if a value in it cannot be stored, find the line and set it aside."""
        try:
            return self._take(batch)
        except Exception as exc:
            self._forget()
            if not is_about_values(exc):
                raise
            if len(batch) == 1 and len(batch[0].raw) == 1:
                batch[0].damage = reason(exc)
                return self._take(batch)
            if is_whole:
                self._try_some(batch)
            return sum(self._take_or_split(part) for part in _halves(batch))
        except BaseException:
            self._forget()
            raise

    def _try_some(self, batch: list[Lines]) -> None:
        """See that the store takes any line at all: else no line is to blame.

        Which ones are tried is left to chance: bad lines among good ones hold a batch up for a
        moment at most.

        Raises:
            StoreRefusesError: It takes none of those that were tried.
        """
        places = [(lines, number) for lines in batch for number in range(len(lines.raw))]
        if len(places) <= _TRIED:
            return
        for lines, number in random.sample(places, _TRIED):
            try:
                self._take([lines.alone(number)], is_trial=True)
            except _TrialOverError:
                return
            except Exception as exc:
                if not is_about_values(exc):
                    raise
                why = reason(exc)
            finally:
                self._forget()
        raise StoreRefusesError(f"none of {_TRIED} lines can be stored: {why}")

    # --- one batch ---------------------------------------------------------------------------

    def _take(self, batch: list[Lines], *, is_trial: bool = False) -> int:
        """Take a batch in, or only see whether it can be: then nothing is kept.

        Raises:
            _TrialOverError: It can be.
        """
        with _undisturbed():
            parsed = {lines.stem: lines.parse() for lines in batch}
        with self._store.writing() as connection, _undisturbed():
            keys = self._open(connection)
            workers = self._workers_of(connection, keys, batch)
            if not is_trial:
                batch = [each for each in batch if _place(workers[each.stem]) == each.start]
            projection = self._projection(connection, keys, batch, parsed)
            asides = _fold(projection, batch, workers, parsed)
            parsed.clear()
            write(connection, projection, [workers[lines.stem] for lines in batch])
            set_aside(connection, keys, asides, workers, self._now_us())
            keys.last["events"] = projection.event_key
            keys.write(connection)
            if is_trial:
                raise _TrialOverError
            del projection
        self._committed(keys, workers)
        for aside in asides:
            place = f"{aside.stem} {aside.place.segment}:{aside.place.offset}"
            self._report("unreadable", f"{place}: {aside.reason}")
        return sum(len(lines.raw) for lines in batch)

    def _open(self, connection: Connection) -> Keys:
        """Begin, as the only one who takes anything in."""
        keys = Keys(connection)
        if keys.last != self._last_keys:
            self._forget_rows()
            self.event_key = keys.last["events"]
        # So that every other monitor notices, also where no row has got a key.
        keys.next("batches")
        return keys

    def _projection(
        self,
        connection: Connection,
        keys: Keys,
        batch: list[Lines],
        parsed: Mapping[str, list[Any]],
    ) -> Projection:
        self._names.open(connection, keys, self._now_us)
        wanted: set[tuple[int, str]] = set()
        for lines in batch:
            worker = self._workers[lines.stem]
            wanted |= jobs_of(parsed[lines.stem], worker.project_key, self._names.project)
        self._jobs.update(load_jobs(connection, wanted - self._jobs.keys()))
        return Projection(keys.next, keys.last["events"], self._names, self._jobs)

    def _committed(self, keys: Keys, workers: Mapping[str, WorkerState]) -> None:
        self._last_keys = dict(keys.last)
        self.event_key = keys.last["events"]
        for stem, worker in workers.items():
            self._follower.moved(stem, _place(worker))
        if len(self._jobs) > _MOST_KEPT_JOBS:
            self._jobs = {key: job for key, job in self._jobs.items() if job.status not in FINAL}
        if len(self._jobs) > _MOST_KEPT_JOBS:
            self._jobs = {}

    def _forget(self) -> None:
        """Know nothing but what is stored: a transaction failed, or somebody else wrote."""
        self._forget_rows()
        self._last_keys = {}
        self._follower.forget()

    def _forget_rows(self) -> None:
        self._workers.clear()
        self._jobs.clear()
        self._names.forget()

    # --- whose journal it is -----------------------------------------------------------------

    def _now_us(self) -> int:
        return round(self._now() * _US)

    def _places(self, stems: Collection[str]) -> Mapping[str, Place]:
        with self._store.reading() as connection:
            return {stem: _place(row) for stem, row in load_workers(connection, stems).items()}

    def _workers_of(
        self, connection: Connection, keys: Keys, batch: Iterable[Lines]
    ) -> dict[str, WorkerState]:
        first = {lines.stem: lines for lines in reversed(list(batch))}
        self._workers.update(load_workers(connection, first.keys() - self._workers.keys()))
        self._names.open(connection, keys, self._now_us)
        for stem, lines in first.items():
            if stem not in self._workers:
                project_key = self._names.project(*self._tenancy(lines))
                self._workers[stem] = WorkerState(keys.next("workers"), stem, project_key)
        return {stem: self._workers[stem] for stem in first}

    def _tenancy(self, lines: Lines) -> tuple[str, str]:
        """Tenant and project of a journal: its first line says it, if it is there still."""
        line = lines.raw[0] if lines.raw else b""
        if _TELLING not in line:
            line = first_line_with(self._folder, lines.stem, _TELLING)
        return tenancy(line)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No search for cycles of garbage while many objects are made that have none.

    It is the whole process that does without, so nothing that waits belongs in here.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _place(worker: WorkerState) -> Place:
    return Place(worker.segment, worker.offset_bytes)


def _fold(
    projection: Projection,
    batch: list[Lines],
    workers: Mapping[str, WorkerState],
    parsed: Mapping[str, list[Any]],
) -> list[Aside]:
    """Fold every record that can be; the others, and what could not be read at all."""
    asides: list[Aside] = []
    for lines in batch:
        worker = workers[lines.stem]
        found = _fold_lines(projection, worker, lines, parsed[lines.stem])
        worker.lines += len(lines.raw)
        worker.unreadable_lines += len(found)
        worker.segment, worker.offset_bytes = lines.end
        asides += found
    return asides


def _fold_lines(
    projection: Projection, worker: WorkerState, lines: Lines, records: list[Any]
) -> list[Aside]:
    add, asides = projection.add, []
    for number, record in enumerate(records):
        try:
            add(worker, record)
        except REFUSALS as exc:
            why = record.reason if isinstance(record, Unreadable) else reason(exc)
            asides.append(Aside(lines.stem, lines.place(number), why, lines.raw[number]))
    return asides


def _halves(batch: list[Lines]) -> tuple[list[Lines], list[Lines]]:
    """The batch in two; the lines of a single journal are cut between two of them."""
    if len(batch) > 1:
        middle = len(batch) // 2
        return batch[:middle], batch[middle:]
    first, second = batch[0].halves()
    return [first], [second]
