"""Aggregates: whatever the order and the parts, they say what the values said."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiveobs.monitor.retention import aggregates
from fiveobs.monitor.retention.folding import Aggregate, Folds, Series, labels_text
from fiveobs.monitor.store.engine import Store
from tests.support.stores import open_sqlite

VALUES = st.floats(min_value=0.0, max_value=1e9)
US = 1_000_000


def folded(values: list[float]) -> Aggregate:
    made = Aggregate()
    for value in values:
        made.add(Aggregate.of(value))
    return made


@given(st.lists(VALUES, min_size=1, max_size=60), st.data())
def test_parts_together_are_the_whole(values: list[float], data: st.DataObject) -> None:
    """Folded in two parts, put into a row and read again, or at once: the same."""
    at = data.draw(st.integers(0, len(values)))
    first = Aggregate.from_row(*folded(values[:at]).row)
    first.add(folded(values[at:]))
    whole = folded(values)
    assert (first.count, first.minimum, first.maximum) == (len(values), min(values), max(values))
    assert first.histogram == whole.histogram
    assert first.total == pytest.approx(math.fsum(values))
    assert first.mean == pytest.approx(math.fsum(values) / len(values))


@given(st.lists(VALUES, min_size=1, max_size=200), st.floats(0.0, 1.0))
def test_a_percentile_is_within_five_percent(values: list[float], share: float) -> None:
    """Of the value that is there at that rank, and never beyond the smallest and the largest."""
    exact = sorted(values)[math.floor(share * (len(values) - 1))]
    found = folded(values).percentile(share)
    assert found is not None
    assert min(values) <= found <= max(values)
    assert found == pytest.approx(exact, rel=0.05)


def test_of_sums_alone_no_percentile_is_known() -> None:
    """Nor a mean of nothing."""
    assert Aggregate(3, 6.0, 1.0, 3.0).percentile(0.5) is None
    assert Aggregate().mean is None
    assert Aggregate().percentile(0.5) is None


def test_labels_that_are_not_known_are_left_out() -> None:
    """And the order in which they are given does not matter."""
    assert labels_text(b="2", a="1", c=None, d="") == '{"a":"1","b":"2"}'


@pytest.fixture(scope="module")
def emptied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Give a store to empty again for each example: to make one takes longer than all of them."""
    made = open_sqlite(tmp_path_factory.mktemp("folding") / "store.sqlite3")
    with made.writing() as connection:
        connection.exec_driver_sql("INSERT INTO projects VALUES (1, 't', 'p', 0)")
    yield made
    made.close()


TIMES = st.integers(0, 3 * 86_400 * US)


@settings(deadline=None)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), TIMES, VALUES), max_size=12), max_size=5
    )
)
def test_what_is_stored_is_what_the_values_were(
    emptied: Store, batches: list[list[tuple[str, int, float]]]
) -> None:
    """In whichever batches they are written: every hour and every day of every series is right."""
    store = emptied
    expected: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    with store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM aggregates")
    keys: dict[Series, int] = {}
    for batch in batches:
        folds = Folds()
        for name, at_us, value in batch:
            folds.add(Series(1, "m", labels_text(name=name)), at_us, Aggregate.of(value))
            for interval_s in (3_600, 86_400):
                start_us = at_us // (interval_s * US) * interval_s * US
                expected[name, interval_s, start_us].append(value)
        with store.writing() as connection:
            aggregates.write(connection, folds, keys)
    with store.reading() as connection:
        found = {
            (each.labels["name"], interval_s, bucket.start_us): bucket.what
            for each in aggregates.series_of(connection, 1, "m", {}, limit=10)
            for interval_s in (3_600, 86_400)
            for bucket in aggregates.buckets_of(
                connection, each.series_key, interval_s, 0, 2**60, 1_000
            )
        }
    assert found.keys() == expected.keys()
    for place, values in expected.items():
        what = found[place]
        assert (what.count, what.minimum, what.maximum) == (len(values), min(values), max(values))
        assert what.total == pytest.approx(math.fsum(values))
        assert sum(what.histogram.values()) == len(values)
