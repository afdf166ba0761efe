"""Does what a rule says: one action, once, in the thread that calls it.

What is to be sent is worked out in one place (`prepared`), for a dry run, too.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from fiveobs._others import carrier_of
from fiveobs.monitor.rules.facts import MISSING, Facts
from fiveobs.monitor.rules.models import Action, Emit, Rule
from fiveobs.monitor.rules.registry import LAUNCHERS, PROCESSORS, Firing, Launch, find
from fiveobs.monitor.rules.templates import filled
from fiveobs.monitor.webhooks.sending import Line, Message, Sender
from fiveobs.types import JobEvent

__all__ = ["Outcome", "Prepared", "Work", "launched_job_id", "perform", "prepared"]

_GONE = 410
_MOST_ERROR_CHARS = 500


class Work(NamedTuple):
    """What is to be done, and why."""

    rule_id: str
    rule: Rule
    secret: str
    action_index: int
    firing_id: str
    facts: Facts
    #: The rules that led to it, itself included.
    chain: tuple[str, ...]
    #: What was awaited and did not happen; ``None`` if nothing was.
    missed: Mapping[str, Any] | None = None

    @property
    def action(self) -> Action:
        """What is to be done."""
        return self.rule.then[self.action_index]

    def get(self, path: str) -> Any:
        """What a placeholder stands for."""
        ours = {"rule.id": self.rule_id, "rule.name": self.rule.name, "firing.id": self.firing_id}
        return ours[path] if path in ours else self.facts.get(path.removeprefix("event."))

    @property
    def cause(self) -> dict[str, Any]:
        """Why, as it stands in the data of what is recorded."""
        record = self.facts.record
        found = {
            "kind": "event" if self.missed is None else "missed",
            "event_id": record.get("id"),
            "event_type": record.get("event_type"),
            "chain": list(self.chain),
        }
        return found if self.missed is None else {**found, "missed": dict(self.missed)}


class Outcome(NamedTuple):
    """What became of one try."""

    #: Why it failed; empty if it did not.
    error: str = ""
    #: Seconds after which whoever refused wants the next try.
    retry_after_s: float | None = None
    #: Another try cannot be any better.
    is_final: bool = False


class Prepared(NamedTuple):
    """An action with its placeholders replaced, to be shown or done."""

    kind: str
    #: What it sends, as JSON has it.
    sends: dict[str, Any]


def launched_job_id(firing_id: str) -> str:
    """The id of the job that a firing starts: the same for every try."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, firing_id))


def prepared(work: Work) -> Prepared:
    """What an action would send."""
    action = work.action
    makers: dict[str, Callable[[Work], dict[str, Any]]] = {
        "webhook": _to_webhook,
        "emit": _to_emit,
        "process": _to_process,
        "launch": _to_launch,
    }
    return Prepared(action.kind, makers[action.kind](work))


def perform(
    work: Work,
    sender: Sender,
    record: Callable[[str, str, str, Mapping[str, Any]], bool],
    began: Callable[[Line], None] = lambda _: None,
) -> Outcome:
    """Do it, and wait for what becomes of it. Raises nothing.

    Args:
        work: What is to be done.
        sender: Connects to receivers.
        record: Records an event: its type, level, message and data; whether it did.
        began: Told of the connection that is used, so that it can be given up.
    """
    try:
        ready = prepared(work)
        if ready.kind == "webhook":
            return _send(work, ready.sends["body"], sender, began)
        if ready.kind == "emit":
            return _record(work, ready.sends, record)
        return _call(work, ready.sends)
    except Exception as exc:
        said = f"{type(exc).__name__}: {exc}"[:_MOST_ERROR_CHARS]
        return Outcome(said.encode("utf-8", "replace").decode().replace("\0", "?"))


# --- webhooks ----------------------------------------------------------------------------------


def _to_webhook(work: Work) -> dict[str, Any]:
    webhook = work.action.webhook
    assert webhook is not None  # noqa: S101 - its kind says so
    cloudevent = JobEvent(work.facts.record).to_cloudevent()
    cloudevent |= {"ruleid": work.rule_id, "rulename": work.rule.name}
    if work.missed is not None:
        cloudevent |= {
            "id": work.firing_id,
            "type": "fiveobs.expectation.missed",
            "data": {"event": cloudevent["data"], "missed": dict(work.missed)},
        }
    return {"url": webhook.url, "body": cloudevent}


def _send(
    work: Work, body: Mapping[str, Any], sender: Sender, began: Callable[[Line], None]
) -> Outcome:
    webhook = work.action.webhook
    assert webhook is not None  # noqa: S101 - its kind says so
    told = webhook.authentication
    authentication = None if told is None else told.model_dump()
    line = sender.line(webhook.url, work.secret, authentication)
    began(line)
    headers = {"Idempotency-Key": work.firing_id}
    message = Message(f"msg_{work.firing_id}", orjson.dumps(body), headers)
    try:
        answer = line.send(message)
    finally:
        line.close()
    if answer.is_taken:
        return Outcome()
    return Outcome(answer.error, answer.retry_after_s, is_final=answer.status == _GONE)


# --- events ------------------------------------------------------------------------------------


def _to_emit(work: Work) -> dict[str, Any]:
    emit = work.action.emit
    assert emit is not None  # noqa: S101 - its kind says so
    data = filled(emit.data, work.get)
    # What the schema says is text.
    for name in ("entity", "from_state", "to_state", "workflow", "milestone", "resource", "status"):
        if name in data and not isinstance(data[name], str):
            data[name] = "" if data[name] is None else str(data[name])
    ours = {"rule_id": work.rule_id, "firing_id": work.firing_id, "cause": work.cause}
    return {"type": emit.type, "level": emit.level, "message": _message(emit, work)} | {
        "data": {**data, **ours}
    }


def _message(emit: Emit, work: Work) -> str:
    found = filled(emit.message, work.get)
    return found if isinstance(found, str) else orjson.dumps(found).decode()


def _record(
    work: Work,
    sends: Mapping[str, Any],
    record: Callable[[str, str, str, Mapping[str, Any]], bool],
) -> Outcome:
    if sends["type"].startswith("job.") and work.facts.get("job_id") is MISSING:
        return Outcome(f"{sends['type']} is about a job, and the event has none", is_final=True)
    if record(sends["type"], sends["level"], sends["message"], sends["data"]):
        return Outcome()
    return Outcome("this monitor records nothing: its own journal cannot be written")


# --- code of others ----------------------------------------------------------------------------


def _to_process(work: Work) -> dict[str, Any]:
    process = work.action.process
    assert process is not None  # noqa: S101 - its kind says so
    parameters = filled(process.parameters, work.get)
    return {"processor": process.processor, "parameters": parameters}


def _to_launch(work: Work) -> dict[str, Any]:
    launch = work.action.launch
    assert launch is not None  # noqa: S101 - its kind says so
    job_id = launched_job_id(work.firing_id)
    return {
        "launcher": launch.launcher,
        "parameters": filled(launch.parameters, work.get),
        "job_id": job_id,
        "carrier": carrier_of(work.facts.record, job_id),
    }


def _call(work: Work, sends: Mapping[str, Any]) -> Outcome:
    why: dict[str, Any] = {
        "event": JobEvent(work.facts.record),
        "idempotency_key": work.firing_id,
        "rule_id": work.rule_id,
        "rule_name": work.rule.name,
        "parameters": sends["parameters"],
        "missed": work.missed,
    }
    if work.action.kind == "process":
        find(PROCESSORS, sends["processor"])(Firing(**why))
    else:
        ids = {"job_id": sends["job_id"], "carrier": sends["carrier"]}
        find(LAUNCHERS, sends["launcher"])(Launch(**why, **ids))
    return Outcome()
