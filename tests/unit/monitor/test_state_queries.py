"""What is asked of states is found by an index, however many there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from fiveobs.monitor.store import coordinating, observing
from fiveobs.monitor.store.coordinating import JOB, WORKER, Place
from fiveobs.monitor.store.engine import Store
from tests.support.plans import plans

AFTER = (JOB, "7")
#: Every question of the projector, of the reconciler, of lists and of watches.
ASKED: dict[str, Callable[[Connection], Any]] = {
    "some": lambda c: coordinating.entities_of(c, [Place(1, JOB, "7"), Place(1, WORKER, "w")]),
    "list": lambda c: coordinating.list_entities(c, 1, after=AFTER, limit=9),
    "of a kind": lambda c: coordinating.list_entities(c, 1, kind=JOB, after=AFTER, limit=9),
    "so well": lambda c: coordinating.list_entities(c, 1, health="ok", after=AFTER, limit=9),
    "changed": lambda c: coordinating.changed_after(c, 1, 5, up_to=9, kinds=[JOB], limit=9),
    "newest": lambda c: coordinating.newest_changes(c, 5),
    "open": lambda c: coordinating.open_entities(c, [WORKER]),
    "open jobs": lambda c: coordinating.open_jobs(c, 0, 9),
    "desired": lambda c: coordinating.desired_jobs(c, 0, 9),
    "events": lambda c: observing.events_between(c, 5, 9),
    "held": lambda c: observing.held_by(c, [1, 2]),
    "lost": lambda c: observing.lost_by(c, [1, 2]),
    "jobs": lambda c: observing.jobs_now(c, [1, 2]),
    "resources": lambda c: observing.resources_held(c, [1, 2]),
    "new workers": lambda c: observing.workers_after(c, 5),
    "workers": lambda c: observing.workers_now(c, [1, 2]),
    "newest worker": observing.newest_worker,
}


@pytest.mark.parametrize("name", ASKED)
def test_no_question_looks_through_a_table(sqlite_store: Store, name: str) -> None:
    """SQLite finds all of it by a key, and needs no order of its own."""
    with plans(sqlite_store) as steps, sqlite_store.reading() as connection:
        ASKED[name](connection)
    assert steps
    assert [each for each in steps if each.startswith(("SCAN", "USE TEMP"))] == []
