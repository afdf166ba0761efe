"""Ids: unique, well formed, nobody else's business; and the text of a time."""

from __future__ import annotations

import json
import os
import random
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveobs import observe_job
from fiveobs._ids import MAX_ID_LENGTH, IdSource, clean_id, clean_text, rfc3339
from fiveobs.testing import capture

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_ids_are_well_formed_and_differ() -> None:
    """Hex digits of the right number, UUIDs of version 7, none twice."""
    ids = IdSource()
    traces = [ids.trace_id() for _ in range(2000)]
    spans = [ids.span_id() for _ in range(2000)]
    jobs = [ids.job_id() for _ in range(2000)]
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in traces)
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in spans)
    assert all(UUID7.fullmatch(each) for each in jobs)
    assert len({*traces, *spans, *jobs}) == 6000


def test_zeros_are_never_given_out() -> None:
    """Zeros mean "no id" to everybody."""
    ids = IdSource()
    ids._bits = lambda bits: 0
    assert ids.trace_id() == f"{1:032x}"
    assert ids.span_id() == f"{1:016x}"


def test_job_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also within a millisecond: a microsecond later is greater."""
    ids, now_ns = IdSource(), 1_767_323_045_000_000_000
    minted = []
    for step in range(3000):
        monkeypatch.setattr("fiveobs._ids.time_ns", lambda at=now_ns + step * 1000: at)
        minted.append(ids.job_id())
    assert minted == sorted(minted)


def test_an_application_that_seeds_random_does_not_repeat_ids() -> None:
    """Nor do we disturb the numbers it wants to see again."""
    seen: list[str] = []
    numbers = []
    with capture(sentry_sample_rate=0.5):
        for _ in range(2):
            random.seed(7)
            with observe_job("seeded") as job:
                seen += (job.job_id, job.trace_id, job.span_id)
            numbers.append(random.random())
    assert len(set(seen)) == 6
    assert numbers[0] == numbers[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_children_do_not_repeat_ids() -> None:
    """Two children that fork at the same point, with the same seed, mint ids that differ."""
    random.seed(7)
    found: list[str] = []
    with capture():
        with observe_job("parent"):
            pass
        for _ in range(2):
            found += _in_child(_ids_of_a_job)
    assert len(found) == 6
    assert len(set(found)) == 6


def _ids_of_a_job() -> list[str]:
    from opentelemetry import trace

    span = trace.get_tracer("app").start_span("before any job")
    span.end()
    with observe_job("child") as job:
        return [job.job_id, job.trace_id, f"{span.get_span_context().span_id:016x}"]


def _in_child(work: Any) -> list[str]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    os.waitpid(pid, 0)
    found: list[str] = json.loads(content)
    return found


# --- what callers pass ---


@given(st.text())
def test_a_cleaned_id_is_one_line_and_stays_what_it_is(text: str) -> None:
    """Cleaning twice is cleaning once, and nothing is left that breaks a line or a header."""
    cleaned = clean_id(text)
    if cleaned is not None:
        assert clean_id(cleaned) == cleaned
        assert len(cleaned) <= MAX_ID_LENGTH
        assert len(cleaned.splitlines()) == 1
        cleaned.encode()


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("a", "a"),
        (" a ", "a"),
        (7, "7"),
        ("", None),
        (" \t", None),
        ("a\nb\x00\u2028\ud800c", "a_b___c"),
        ("x" * 300, "x" * 255 + "…"),
        ("größe/и", "größe/и"),
    ],
)
def test_callers_ids_are_made_safe(value: Any, cleaned: str | None) -> None:
    """Ids may be of any script; control characters and length are what is not taken."""
    assert clean_id(value) == cleaned


def test_a_value_that_cannot_be_shown_is_no_text() -> None:
    """A hostile ``__str__`` does not reach the job."""

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("hostile")

    assert clean_text(Hostile(), 10) == ""


# --- time ---


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_a_timestamp_reads_back(at_ns: int) -> None:
    """RFC 3339 in UTC with six digits, cut and not rounded."""
    text = rfc3339(at_ns)
    read = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert int(read.timestamp()) == at_ns // 1_000_000_000
    assert read.microsecond == at_ns % 1_000_000_000 // 1000
