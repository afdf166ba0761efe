"""Sums of measurements: values, temporality, bounds, and what is sent of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from fiveobs.tracks._sums import ExemplarIds, Instrument, Sums
from tests.support._otlp_parse import metrics_of

COUNTER = Instrument("c", "counter", "{job}", "Counted")
ACTIVE = Instrument("u", "updowncounter", "{job}", "Up and down")
GAUGE = Instrument("g", "gauge", "By", "Now")
HISTOGRAM = Instrument("h", "histogram", "s", "Took", (1.0, 2.0, 5.0))
OBSERVED = Instrument("o", "counter", "s", "Summed by the system")
A, B = (("k", "a"),), (("k", "b"),)


def read(sums: Sums) -> dict[str, dict[str, Any]]:
    body = sums.encode({"service.name": "s"})
    return {each["name"]: each for each in metrics_of(ExportMetricsServiceRequest.FromString(body))}


def send(sums: Sums) -> dict[str, dict[str, Any]]:
    found = read(sums)
    sums.sent()
    return found


def values(metric: dict[str, Any]) -> dict[str, Any]:
    return {point["attributes"].get("k", "*"): point["value"] for point in metric["points"]}


# --- kinds ---


def test_each_kind_has_its_shape() -> None:
    """Name, unit, description, monotony and temporality."""
    sums = Sums(10)
    sums.add(COUNTER, A, 2)
    sums.set(ACTIVE, A, 1)
    sums.set(GAUGE, A, 0.5)
    sums.record(HISTOGRAM, A, 1.5)
    found = read(sums)
    assert {(m["name"], m["type"], m["unit"], m["description"]) for m in found.values()} == {
        ("c", "sum", "{job}", "Counted"),
        ("u", "sum", "{job}", "Up and down"),
        ("g", "gauge", "By", "Now"),
        ("h", "histogram", "s", "Took"),
    }
    assert (found["c"]["monotonic"], found["u"]["monotonic"]) == (True, False)
    assert {found[name]["temporality"] for name in "cuh"} == {"CUMULATIVE"}
    assert found["c"]["resource"] == {"service.name": "s"}


@given(st.lists(st.floats(-1e6, 1e6)))
def test_a_histogram_counts_each_value_in_its_bucket(given_values: list[float]) -> None:
    """Upper bounds belong to their bucket; sum, count, min and max are those of the values."""
    sums = Sums(10)
    for value in given_values:
        sums.record(HISTOGRAM, A, value)
    if not given_values:
        return
    (point,) = read(sums)["h"]["points"]
    assert point["bounds"] == [1.0, 2.0, 5.0]
    assert point["buckets"] == [
        sum(value <= 1 for value in given_values),
        sum(1 < value <= 2 for value in given_values),
        sum(2 < value <= 5 for value in given_values),
        sum(value > 5 for value in given_values),
    ]
    assert point["count"] == len(given_values)
    assert point["sum"] == pytest.approx(sum(given_values))
    assert (point["min"], point["max"]) == (min(given_values), max(given_values))


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1))
def test_numbers_of_any_size_can_be_sent(steps: list[int]) -> None:
    """Beyond 64 bit they are sent as floating point, and nothing stands in the way of the rest."""
    sums = Sums(10)
    for step in steps:
        sums.add(COUNTER, A, step)
    assert values(read(sums)["c"])["a"] == pytest.approx(sum(steps))


# --- temporality ---


def test_cumulative_sums_grow() -> None:
    """With the same start, whatever was sent in between."""
    sums = Sums(10)
    starts = set()
    for expected in (1, 2, 3):
        sums.add(COUNTER, A, 1)
        sums.record(HISTOGRAM, A, 1)
        found = send(sums)
        assert values(found["c"]) == {"a": expected}
        assert found["h"]["points"][0]["count"] == expected
        starts.add(found["c"]["points"][0]["start_ns"])
    assert len(starts) == 1


@pytest.mark.parametrize("temporality", ["delta", "lowmemory"])
def test_delta_sums_begin_anew(temporality: str) -> None:
    """Each export has what was added since the last one, and begins where that ended."""
    sums = Sums(10, temporality=temporality)
    sums.add(COUNTER, A, 2)
    sums.record(HISTOGRAM, A, 1)
    sums.set(GAUGE, A, 7)
    sums.set(ACTIVE, A, 3)
    first = send(sums)
    assert first["c"]["temporality"] == first["h"]["temporality"] == "DELTA"
    assert first["u"]["temporality"] == "CUMULATIVE"
    sums.add(COUNTER, B, 5)
    second = send(sums)
    assert values(second["c"]) == {"b": 5}
    assert "h" not in second
    assert (values(second["g"]), values(second["u"])) == ({"a": 7}, {"a": 3})
    assert second["c"]["points"][0]["start_ns"] == first["c"]["points"][0]["time_ns"]


def test_what_was_not_taken_is_sent_again() -> None:
    """A failed export is one that ``sent`` was not called for; delta sums hold what it had."""
    for temporality in ("cumulative", "delta"):
        sums = Sums(10, temporality=temporality)
        sums.add(COUNTER, A, 2)
        read(sums)
        sums.add(COUNTER, A, 3)
        assert values(read(sums)["c"]) == {"a": 5}


def test_observed_counters_follow_the_temporality() -> None:
    """What the system sums is sent as it is, or as the difference, or as it is to save memory."""
    expected = {"cumulative": [10, 15, 2], "delta": [10, 5, 2], "lowmemory": [10, 15, 2]}
    for temporality, figures in expected.items():
        sums, found = Sums(10, temporality=temporality), []
        for total in (10, 15, 2):  # the last one after whoever counts has begun anew
            sums.observe([(OBSERVED, A, total)])
            metric = send(sums)["o"]
            found.append(values(metric)["a"])
            is_delta = temporality == "delta"
            assert metric["temporality"] == ("DELTA" if is_delta else "CUMULATIVE")
        assert found == figures


def test_what_is_not_observed_any_more_is_not_sent() -> None:
    """A queue that is gone has no size; gauges of a user's own keep theirs."""
    observed = Instrument("size", "gauge", "", "")
    sums = Sums(10)
    sums.set(GAUGE, A, 7)
    sums.observe([(observed, A, 1), (observed, B, 2)])
    assert values(send(sums)["size"]) == {"a": 1, "b": 2}
    sums.observe([(observed, B, 3)])
    found = send(sums)
    assert (values(found["size"]), values(found["g"])) == ({"b": 3}, {"a": 7})


# --- exemplars ---


def test_exemplars_are_the_newest_of_each_bucket() -> None:
    """With the ids of the span that was measured; a value without a span has none."""
    one, two = ExemplarIds("a" * 32, "b" * 16), ExemplarIds("c" * 32, "d" * 16)
    sums = Sums(10)
    sums.record(HISTOGRAM, A, 0.5, one)
    sums.record(HISTOGRAM, A, 0.7, two)
    sums.record(HISTOGRAM, A, 1.5)
    sums.record(HISTOGRAM, A, 9.0, one)
    exemplars = send(sums)["h"]["points"][0]["exemplars"]
    found = [(each["value"], each["trace_id"], each["span_id"]) for each in exemplars]
    assert found == [(0.7, *two), (9.0, *one)]


@pytest.mark.parametrize(
    ("temporality", "sent"),
    [("cumulative", [[0.5], [0.5], [0.7], []]), ("delta", [[0.5], [], [0.7], []])],
)
def test_exemplars_go_out_for_a_minute_with_cumulative_sums(
    monkeypatch: pytest.MonkeyPatch, temporality: str, sent: list[list[float]]
) -> None:
    """Whoever scrapes misses none that came between two scrapes; deltas bring each once."""
    now_s = 1e9
    monkeypatch.setattr("time.time_ns", lambda: int(now_s * 1e9))
    monkeypatch.setattr("time.monotonic_ns", lambda: int(now_s * 1e9))
    sums = Sums(10, temporality=temporality)
    ids = ExemplarIds("a" * 32, "b" * 16)

    def export() -> list[float]:
        points = send(sums).get("h", {"points": []})["points"]
        return [each["value"] for point in points for each in point["exemplars"]]

    sums.record(HISTOGRAM, A, 0.5, ids)
    found = [export()]
    now_s += 59
    found.append(export())
    sums.record(HISTOGRAM, A, 0.7, ids)
    now_s += 61
    found.append(export())
    found.append(export())
    assert found == sent


# --- label sets ---


@given(st.integers(1, 5), st.lists(st.integers(0, 9), min_size=1))
def test_label_sets_have_a_bound_and_nothing_is_lost(limit: int, labels: list[int]) -> None:
    """What is one too many goes to one overflow series; the total is right."""
    sums = Sums(limit)
    for label in labels:
        sums.add(COUNTER, (("k", str(label)),), 1)
    points = read(sums)["c"]["points"]
    over = [point for point in points if "otel.metric.overflow" in point["attributes"]]
    assert len(points) - len(over) == min(limit, len(set(labels)))
    assert len(over) == (len(set(labels)) > limit)
    assert all(point["attributes"] == {"otel.metric.overflow": True} for point in over)
    assert sum(point["value"] for point in points) == len(labels)


def test_the_bound_is_per_instrument() -> None:
    """One with many label sets does not crowd out another."""
    sums = Sums(1)
    for label in "abc":
        sums.add(COUNTER, (("k", label),), 1)
        sums.record(HISTOGRAM, (("k", label),), 1)
    sums.set(GAUGE, A, 1)
    found = read(sums)
    assert values(found["g"]) == {"a": 1}
    assert [point["count"] for point in found["h"]["points"]] == [1, 2]
