"""Jobs can say which other jobs they need."""

from __future__ import annotations

import pytest

from fiveobs import announce_job, observe_job
from fiveobs.testing import Captured, capture


def needed(captured: Captured) -> object:
    (event,) = (e for e in captured.events if e.event_type in ("job.received", "job.started"))
    return event.data.get("depends_on")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", {"a": None}),
        (["a", "b"], {"a": None, "b": None}),
        ({"a": "validated data", "b": None}, {"a": "validated data", "b": None}),
        (lambda: ["a"], {"a": None}),
        (lambda: 7, {"7": None}),
    ],
    ids=["one", "many", "reasons", "function", "number"],
)
def test_started_says_what_is_needed(given: object, expected: object) -> None:
    """An id, several, ids with reasons, or a function of the arguments: always a mapping."""
    with capture() as captured:
        observe_job("job", depends_on=given)(lambda: None)()
    assert needed(captured) == expected


def test_received_says_what_is_needed() -> None:
    """What is known when a job is queued is recorded then."""
    with capture() as captured:
        announce_job("job", depends_on={"a": "first"})
    assert needed(captured) == {"a": "first"}


def test_a_function_is_given_the_arguments() -> None:
    """Each call names the jobs that it needs."""
    with capture() as captured:
        observe_job("job", depends_on=lambda path, after: after)(lambda path, after: None)(
            "a.png", after=["x"]
        )
    assert needed(captured) == {"x": None}


@pytest.mark.parametrize(
    "given", [3.5, [], {}, None, [object], lambda: 1 / 0], ids=lambda value: type(value).__name__
)
def test_what_is_no_id_is_left_out(given: object) -> None:
    """A job runs whatever it is told that it needs; it says nothing of what names no job."""
    with capture() as captured:
        assert observe_job("job", depends_on=given)(lambda: 5)() == 5
    assert needed(captured) is None or given == [object]


def test_there_is_a_bound() -> None:
    """Of very many jobs the first hundred are kept."""
    with capture() as captured:
        announce_job("job", depends_on=[f"j{number}" for number in range(150)])
    assert len(needed(captured)) == 100


def test_reasons_are_redacted_and_ids_are_not() -> None:
    """A secret in a reason is masked; an id stays as it is."""
    with capture() as captured:
        announce_job("job", depends_on={"4111111111111111": "password=hunter2hunter2"})
    assert list(needed(captured)) == ["4111111111111111"]
    assert "hunter2" not in str(needed(captured))
