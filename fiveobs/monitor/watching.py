"""How far the monitor is behind, and what it counts in its store.

Reads the journal folder and the store; called by ``/readyz``, ``/metrics`` and one thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from fiveobs.journal.segments import segment_files, segment_path
from fiveobs.monitor.figures import Figures, Sample
from fiveobs.monitor.store import migrating
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import deliveries, jobs, sequences, workers

__all__ = ["IngestWatch", "check_store", "watch_store"]

_INTERVAL_S = 1.0
#: How long a count that takes a while is not made again.
_KEPT_S = 15.0
#: As much of the end of a journal is looked at for a whole line.
_TAIL_BYTES = 64 * 1024
#: Values of one ``IN (…)``.
_MOST_IN = 500
#: A segment of a journal and an offset in it.
_Place = tuple[int, int]


def check_store(store: Store) -> str:
    """``ok``, or why the store cannot be used; says nothing of where it is."""
    try:
        with store.reading() as connection:
            current = MigrationContext.configure(connection).get_current_heads()
    except SQLAlchemyError:
        return "it cannot be reached"
    return "ok" if set(current) == set(_newest()) else "its schema is not that of this version"


@cache
def _newest() -> tuple[str, ...]:
    folder = Path(migrating.__file__).with_name("migrations")
    return tuple(ScriptDirectory(str(folder)).get_heads())


class IngestWatch:
    """Tells how long events wait until they are in the store.

    It notes how far each journal reaches, and how long it takes until all of that is stored.

    Args:
        store: Where events go.
        folder: ``<FIVEOBS_HOME>/journal``.
        clock: Seconds that only grow.
    """

    name = "watch"

    def __init__(
        self, store: Store, folder: Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._folder = folder
        self._clock = clock
        #: What is still to be stored, and when it was noted.
        self._waiting: dict[str, _Place] = {}
        self._noted_at = clock()
        self._has_noted = False
        #: All that was in the journals then is stored.
        self._settled_at: float | None = None

    @property
    def lag_s(self) -> float:
        """How long the oldest event that is known to wait has done so, in seconds."""
        return self._clock() - self._noted_at if self._waiting else 0.0

    @property
    def settled_s(self) -> float | None:
        """How long ago all that was in the journals is in the store, in seconds.

        ``None``: the first look has not come to an end.
        """
        settled_at = self._settled_at
        return None if settled_at is None else self._clock() - settled_at

    def run(self, stop: threading.Event) -> None:
        """Look once a second until told to stop."""
        while not stop.wait(_INTERVAL_S):
            self.step()

    def step(self) -> None:
        """Look once.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
        """
        places = self._places(self._waiting)
        self._waiting = {
            stem: end for stem, end in self._waiting.items() if self._waits(stem, end, places)
        }
        if not self._waiting:
            if self._has_noted:
                self._settled_at = self._noted_at
            self._noted_at, self._has_noted = self._clock(), True
            files = segment_files(self._folder)
            self._waiting = _unread(files, self._places({stem for stem, _, _ in files}))
            if not self._waiting:
                self._settled_at = self._noted_at

    def _places(self, stems: Collection[str]) -> dict[str, _Place]:
        """How far journals are in the store; of the workers there, only those that are asked for.

        A store knows many more workers than there are journals left.
        """
        if not stems:
            return {}
        with self._store.reading() as connection:
            return _places(connection, list(stems))

    def _waits(self, stem: str, end: _Place, places: Mapping[str, _Place]) -> bool:
        # A file that was deleted will never be read, so nothing waits in it.
        is_there = segment_path(self._folder, stem, end[0]).exists()
        return is_there and places.get(stem, (1, 0)) < end


def _places(connection: Connection, stems: Sequence[str]) -> dict[str, _Place]:
    columns = (workers.c.stem, workers.c.segment, workers.c.offset_bytes)
    return {
        stem: (segment, offset)
        for start in range(0, len(stems), _MOST_IN)
        for stem, segment, offset in connection.execute(
            select(*columns).where(workers.c.stem.in_(stems[start : start + _MOST_IN]))
        )
    }


def _unread(
    files: Iterable[tuple[str, int, Path]], places: Mapping[str, _Place]
) -> dict[str, _Place]:
    """How far each journal reaches that is not all in the store."""
    found: dict[str, _Place] = {}
    for stem, number, path in files:
        segment, offset = places.get(stem, (1, 0))
        if number >= segment:
            end = _end_of_lines(path, offset if number == segment else 0)
            if end is not None:
                found[stem] = (number, end)
    return found


def _end_of_lines(path: Path, offset: int) -> int | None:
    """Where the last whole line after an offset ends; ``None`` if there is none."""
    try:
        size = path.stat().st_size
        if size <= offset:
            return None
        with path.open("rb") as file:
            start = max(offset, size - _TAIL_BYTES)
            file.seek(start)
            last = file.read(_TAIL_BYTES).rfind(b"\n")
    except OSError:
        return None  # deleted just now
    return None if last < 0 else start + last + 1


def watch_store(figures: Figures, store: Store) -> None:
    """Have what the store counts among the figures."""
    figures.ask(
        "fiveobs_monitor_events_total",
        "Events taken in since the store began.",
        lambda: _events(store),
        "counter",
    )
    figures.ask(
        "fiveobs_monitor_unreadable_lines_total",
        "Journal lines that could not be read.",
        lambda: _unreadable(store),
        "counter",
    )
    figures.ask("fiveobs_monitor_jobs", "Jobs by status.", _kept(lambda: _jobs(store)))
    figures.ask(
        "fiveobs_monitor_webhook_deliveries",
        "Webhook deliveries by status.",
        _kept(lambda: _deliveries(store)),
    )


def _kept(source: Callable[[], list[Sample]]) -> Callable[[], list[Sample]]:
    """The same, asked again only after a while: it reads many rows."""
    lock = threading.Lock()
    kept: list[tuple[float, list[Sample]]] = []

    def ask() -> list[Sample]:
        with lock:
            if not kept or time.monotonic() - kept[0][0] > _KEPT_S:
                kept[:] = [(time.monotonic(), source())]
            return kept[0][1]

    return ask


def _events(store: Store) -> list[Sample]:
    wanted = select(sequences.c.value).where(sequences.c.name == "events")
    with store.reading() as connection:
        return [({}, float(connection.execute(wanted).scalar_one()))]


def _unreadable(store: Store) -> list[Sample]:
    with store.reading() as connection:
        total = connection.execute(select(func.sum(workers.c.unreadable_lines))).scalar()
    return [({}, float(total or 0))]


def _jobs(store: Store) -> list[Sample]:
    counted = select(jobs.c.status, func.count()).group_by(jobs.c.status)
    with store.reading() as connection:
        return [({"status": status}, count) for status, count in connection.execute(counted)]


def _deliveries(store: Store) -> list[Sample]:
    counted = select(deliveries.c.status, func.count()).group_by(deliveries.c.status)
    with store.reading() as connection:
        return [({"status": status}, count) for status, count in connection.execute(counted)]
