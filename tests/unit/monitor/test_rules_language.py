"""The language of rules: conditions, placeholders, YAML, and what is said of what is wrong."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fiveobs.exceptions import BadInputError
from fiveobs.monitor.rules.book import made_ready
from fiveobs.monitor.rules.conditions import OPERATORS, compiled, problems
from fiveobs.monitor.rules.facts import EVENT_FIELDS, MISSING, Facts, inside
from fiveobs.monitor.rules.models import EMITTED, FIRED, Emit, Rule, event_types, types_of
from fiveobs.monitor.rules.reading import read_rules, written
from fiveobs.monitor.rules.stored import RuleRow
from fiveobs.monitor.rules.templates import filled, template_problem

RECORD: dict[str, Any] = {
    "id": "e-1",
    "event_type": "job.failed",
    "level": "error",
    "message": "job failed: timeout after 30 s",
    "service": "thumbnails",
    "job_name": "resize",
    "job_id": "job-1",
    "attempt": 2,
    "data": {
        "duration_s": 30.5,
        "is_retried": True,
        "tags": ["a", "b", 3],
        "error": {"type": "TimeoutError"},
        "dotted.name": {"x": 1},
        "none": None,
    },
}
JOB = {"status": "failed", "queue": "gpu", "attributes": {"customer": {"tier": "gold"}}}
EMIT = [{"emit": {"type": "log"}}]
HOOK = {"webhook": {"url": "https://example.com/hook"}}


def facts(record: dict[str, Any] = RECORD) -> Facts:
    return Facts(lambda: record, lambda: JOB)


def holds(where: dict[str, Any], record: dict[str, Any] = RECORD) -> bool:
    assert problems(where) == []
    return compiled(where)(facts(record))


def rule(**fields: Any) -> Rule:
    return Rule.model_validate({"name": "r", "on": "job.failed", "then": EMIT, **fields})


def wrong(**fields: Any) -> dict[str, str]:
    """What is said of a rule, by the path of the key."""
    with pytest.raises(ValidationError) as caught:
        rule(**fields)
    return {".".join(map(str, each["loc"])): each["msg"] for each in caught.value.errors()}


# --- conditions ---


@pytest.mark.parametrize(
    "where",
    [
        {"service": "thumbnails"},
        {"service": ["x", "thumbnails"]},
        {"attempt": 2},
        {"attempt": {"eq": 2, "ne": 3, "lt": 3, "le": 2, "gt": 1, "ge": 2}},
        {"level": {"ge": "warning"}},
        {"level": {"lt": "critical"}},
        {"data.duration_s": {"gt": 30}},
        {"data.error.type": {"in": ["TimeoutError", "OSError"]}},
        {"data.tags": {"contains": 3}},
        {"data.error": {"contains": "type"}},
        {"message": {"contains": "timeout"}},
        {"message": {"matches": "*timeout*s"}},
        {"message": {"matches": "job [ef]ailed: ??????? *"}},
        {"data.missing": {"exists": False}},
        {"data.none": {"exists": True}},
        {"session_id": {"ne": "x"}},
        {"data.dotted.name.x": 1},
        {"data.is_retried": True},
        {"job.queue": "gpu", "job.status": {"ne": "lost"}},
        {"job.attributes.customer.tier": "gold"},
        {"any": [{"service": "x"}, {"attempt": 2}]},
        {"all": [{"attempt": 2}, {"not": {"service": "x"}}]},
    ],
    ids=str,
)
def test_a_condition_that_holds(where: dict[str, Any]) -> None:
    """Every operator, on fields of the event, nested data and the job; its negation does not."""
    assert holds(where)
    assert not holds({"not": where})


@pytest.mark.parametrize(
    "where",
    [
        {"service": "Thumbnails"},
        {"attempt": "2"},
        {"attempt": True},
        {"data.is_retried": 1},
        {"attempt": {"gt": 1, "lt": 2}},
        {"message": {"gt": 5}},
        {"data.missing": {"lt": 5}},
        {"data.missing": "x"},
        {"data.duration_s": {"matches": "*"}},
        {"message": {"matches": "timeout"}},
        {"data.none": {"exists": False}},
        {"any": [{"service": "x"}, {"attempt": 3}]},
    ],
    ids=str,
)
def test_a_condition_that_does_not_hold(where: dict[str, Any]) -> None:
    """Types count, text has cases, and of what is not there only ``ne`` and ``exists`` are true."""
    assert not holds(where)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
SCALARS = st.booleans() | st.integers(-9, 9) | st.text("ab*?[]!.", max_size=5)
PATHS = st.sampled_from([*EVENT_FIELDS, "data.a", "data.a.b", "job.queue", "job.attributes.x"])
TESTS = SCALARS | st.dictionaries(
    st.sampled_from(OPERATORS), SCALARS | st.lists(SCALARS), max_size=3
)
WHERES = st.recursive(
    st.dictionaries(PATHS, TESTS, min_size=1, max_size=3),
    lambda inner: (
        st.dictionaries(st.sampled_from(["any", "all"]), st.lists(inner, min_size=1))
        | st.fixed_dictionaries({"not": inner})
    ),
    max_leaves=5,
)


@given(where=WHERES, data=st.dictionaries(st.sampled_from("ab"), JSON))
def test_conditions_decide_on_any_event(where: Any, data: dict[str, Any]) -> None:
    """What no problem is found in never raises, and is false exactly where its negation is true."""
    if problems(where) == []:
        record = {**RECORD, "data": data}
        assert holds(where, record) is not holds({"not": where}, record)


@given(where=JSON)
def test_whatever_is_no_condition_is_told_and_never_raises(where: Any) -> None:
    """Problems name their place and what would be valid."""
    for each in problems(where):
        assert "valid" in each.valid
        assert isinstance(each.path, tuple)


def test_a_pattern_takes_no_longer_than_its_text() -> None:
    """What would keep a regular expression going back and forth for years is decided at once."""
    record = {**RECORD, "message": "a" * 100_000}
    before_s = time.process_time()
    assert not holds({"message": {"matches": "*a" * 90 + "b"}}, record)
    assert time.process_time() - before_s < 5.0


def test_there_is_an_end_to_conditions() -> None:
    """A hundred at most, eight deep at most."""
    assert "up to 100" in problems({"any": [{"attempt": 1}] * 101})[0].valid
    where: dict[str, Any] = {"attempt": 1}
    for _ in range(8):
        where = {"not": where}
    assert "8 deep" in problems(where)[0].valid


@given(path=st.text("ab.", max_size=6), value=JSON)
def test_a_path_leads_somewhere_or_nowhere(path: str, value: Any) -> None:
    """Nothing raises, whatever is at the end; a whole name wins over a part of it."""
    inside(value, path)
    if path:
        assert inside({path: value}, path) is value


# --- placeholders ---


def get(path: str) -> Any:
    return facts().get(path.removeprefix("event."))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{event.job_id}", "job-1"),
        ("{event.attempt}", 2),
        ("try {event.attempt} of {event.job_id}", "try 2 of job-1"),
        ("{event.data.tags}", ["a", "b", 3]),
        ("tags: {event.data.tags}", 'tags: ["a","b",3]'),
        ("{event.data.missing}", None),
        ("[{event.data.missing}]", "[]"),
        ("{{event.job_id}}", "{event.job_id}"),
        ("{job.queue} { } {}", "gpu { } {}"),
        ({"a": ["{event.attempt}", 7]}, {"a": [2, 7]}),
    ],
    ids=str,
)
def test_placeholders_are_replaced(template: Any, expected: Any) -> None:
    """Alone they keep their type; what is not there is null, or nothing within a text."""
    assert filled(template, get) == expected


@given(text=st.text())
def test_any_text_can_be_filled(text: str) -> None:
    """Nothing raises; a text without braces is left as it is."""
    found = filled(text, lambda path: MISSING)
    if "{" not in text and "}" not in text:
        assert found == text


@pytest.mark.parametrize("text", ["{event.jobid}", "{event}", "{job_id}", "{rule.secret}", "{x!r}"])
def test_a_placeholder_that_stands_for_nothing_is_refused(text: str) -> None:
    """When the rule is saved, with what would be valid."""
    assert "valid are {event.FIELD}" in str(template_problem(text))


# --- rules ---


def test_a_rule_is_for_the_types_that_its_patterns_stand_for() -> None:
    """A star stands for a part; firings are only meant where they are named."""
    assert types_of(["job.completed"]) == {"job.completed"}
    assert types_of(["*.failed"]) == {"job.failed", "stage.failed"}
    assert types_of(["job.*", "log"]) == {
        "log",
        *(each for each in event_types() if each.startswith("job.")),
    }
    assert types_of(["*"]) == set(event_types()) - {FIRED}
    assert FIRED in types_of(["workflow.*"])
    assert "worker.heartbeat" not in event_types()


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Each with the path of its key and what would be valid."""
    found = wrong(
        on=["job.done", "job.*"],
        where={"data.x": {"above": 3}, "jobname": 1},
        then=[
            {"webhook": {"url": "ftp://x"}},
            {"emit": {"type": "job.completed"}},
            {"emit": {"type": "state.changed", "data": {"entity": "{event.foo}"}}},
            {"process": {"processor": ""}},
            {"launch": {}},
            {},
        ],
        expect={"event": "job.started", "within": "soon", "same": "customer"},
        limits={"max_per_minute": 0},
        colour="red",
    )
    assert "valid are job.received" in found["on.0"]
    assert "valid are eq, ne" in found["where.data.x.above"]
    assert "valid are id, event_type" in found["where.jobname"]
    assert "https://" in found["then.0.webhook.url"]
    assert "'state.changed'" in found["then.1.emit.type"]
    assert "valid are {event.FIELD}" in found["then.2.emit.data.entity"]
    assert "exactly one of webhook, emit, process, launch" in found["then.5"]
    assert "such as 30s" in found["expect.within"]
    assert "job, session, request" in found["expect.same"]
    assert found.keys() >= {"then.3.process.processor", "then.4.launch.launcher", "colour"}
    assert "limits.max_per_minute" in found


def test_what_an_event_must_have_is_asked_for() -> None:
    """What the journal's schema requires of a type, and nothing that we say ourselves."""
    found = wrong(then=[{"emit": {"type": "state.changed", "data": {"cause": 1}}}])
    assert "it is missing" in found["then.0.emit.data.entity"]
    assert "it is missing" in found["then.0.emit.data.to_state"]
    assert "other names" in found["then.0.emit.data.cause"]
    assert set(Emit.model_json_schema()["properties"]["type"]["enum"]) == EMITTED.keys()


def test_a_rule_that_feeds_itself_is_refused() -> None:
    """Where nothing narrows it; with a condition, or on purpose, it may."""
    assert "for ever" in wrong(on="log")["then.0.emit.type"]
    assert "for ever" in wrong(on="*")["then.0.emit.type"]
    rule(on="log", where={"level": "error"})
    rule(on="log", allow_repeat=True)
    rule(on="job.*")


def test_the_token_that_is_shown_is_not_taken_for_one() -> None:
    """A rule that was read and is sent back must say the token itself."""
    hook = {"url": "https://x.org/", "authentication": {"type": "bearer", "token": "***"}}
    found = wrong(then=[{"webhook": hook}])
    assert "the token itself" in found["then.0.webhook.authentication.token"]


def test_a_rule_is_kept_as_it_was_written() -> None:
    """Nothing is added that was not said, and what is kept makes the same rule."""
    given = {"on": "job.*", "where": {"attempt": 2}, "then": [HOOK], "limits": {"max_tries": 3}}
    made = rule(**given)
    kept = made.definition()
    assert kept == {**given, "on": ["job.*"]}
    assert Rule.model_validate({"name": "r", **kept}) == made


def test_the_record_of_a_firing_concerns_no_rule_that_it_is_of() -> None:
    """Nor any rule, if it says that there was a loop."""
    made = rule(on="workflow.*", then=[HOOK])
    row = RuleRow(1, "rule-1", 1, "r", True, 1, made.definition(), "", None, 0, 0, 0)
    ready = made_ready(row, made)

    def record(**data: Any) -> Facts:
        return facts({**RECORD, "event_type": FIRED, "data": {"workflow": "w", **data}})

    assert ready.is_for(record())
    assert ready.is_for(record(firing_id="f", rule_id="rule-2", outcome="dead"))
    assert not ready.is_for(record(firing_id="f", rule_id="rule-1", outcome="done"))
    assert not ready.is_for(record(firing_id="f", rule_id="rule-2", outcome="loop"))


# --- YAML ---


def test_yaml_means_what_it_looks_like() -> None:
    """``on`` is a name, times are text, and of a file with ``rules`` each is read."""
    (found,) = read_rules(
        "name: late\non: job.completed\nenabled: false\n"
        "where: {data.day: 2026-01-02, data.answer: yes, data.n: 1.5}\n"
    )
    assert found["on"] == "job.completed"
    assert found["enabled"] is False
    assert found["where"] == {"data.day": "2026-01-02", "data.answer": "yes", "data.n": 1.5}
    assert len(read_rules("rules:\n- {name: a}\n- {name: b}\n")) == 2
    assert read_rules('{"name": "a", "on": "log"}') == [{"name": "a", "on": "log"}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x 1\nb: *x", "anchors"),
        ("a: 1\na: 2", "line 2, column 1: a stands there twice"),
        ("1: 2", "1 is no name"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("[", "no YAML"),
        ("text", "has no rules"),
        ("rules: []", "has no rules"),
        ("rules:\n- {name: a}\n- {name: a}", "two rules called 'a'"),
        ("[" * 5_000, "no YAML"),
        ("a: " + "x" * 1_100_000, "too long"),
    ],
    ids=lambda text: text[:20],
)
def test_yaml_that_is_no_rules_is_refused(text: str, says: str) -> None:
    """With the place and the reason; nothing is made of what is only meant to grow."""
    with pytest.raises(BadInputError, match=says):
        read_rules(text)


NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), min_size=1, max_size=20)


@given(
    names=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    where=st.dictionaries(NAMES, JSON, max_size=3),
)
def test_rules_that_are_written_are_read(names: list[str], where: dict[str, Any]) -> None:
    """Whatever names and values they have."""
    rules = [{"name": name, "on": "job.*", "where": where} for name in names]
    found = read_rules(written(json.loads(json.dumps(rules))))
    assert found == json.loads(json.dumps(rules))
