"""Routes that act on jobs: stop, pause, resume, the emergency stop; and the record of it.

Runs in threads, because the store's drivers and the file system block.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Depends, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from fiveobs._control import Action
from fiveobs.monitor.api.dependencies import JOB, JobId, ProjectScope, Scope, TheStore, require
from fiveobs.monitor.api.problems import ProblemError, described
from fiveobs.monitor.api.routers import make_router
from fiveobs.monitor.control import (
    Asked,
    Control,
    Filter,
    RefusedError,
    Requester,
    UnknownJobError,
)
from fiveobs.monitor.store.auditing import AuditRow, audit_rows
from fiveobs.monitor.tracking.models.base import Time

__all__ = [
    "AuditAnswer",
    "AuditEntry",
    "ControlAnswer",
    "ControlRequest",
    "Controls",
    "EmergencyStopAnswer",
    "EmergencyStopRequest",
    "Reason",
    "StopFilter",
    "Text",
    "asked_of",
    "emergency_stop",
    "get_audit",
    "pause_job",
    "resume_job",
    "router",
    "stop_job",
]

_MOST_NAMED = 1_000
#: Jobs of an emergency stop that are named in the answer.
_MOST_SHOWN = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: PostgreSQL takes no NUL, and nobody means one.
Text: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]*$")
]
Reason: TypeAlias = Annotated[str, StringConstraints(max_length=1_000, pattern=r"^[^\x00]*$")]

router = make_router("Control", role="operator")


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class ControlRequest(_Model):
    """Why it is asked for."""

    reason: Annotated[Reason, Field(description="Why, for the audit trail and the job")] = ""


def _not_empty() -> dict[str, Any]:
    """For the document: what `StopFilter` refuses, in the words of JSON Schema."""
    lists = ("jobNames", "services", "statuses", "jobIds")
    parts: dict[str, dict[str, Any]] = {"all": {"const": True}}
    parts |= {name: {"minItems": 1} for name in lists}
    parts |= {name: {"type": "string"} for name in ("sessionId", "submittedBy")}
    return {
        "anyOf": [{"properties": {name: part}, "required": [name]} for name, part in parts.items()]
    }


class StopFilter(_Model):
    """Which jobs are meant: those that fit every part that is given."""

    model_config = ConfigDict(json_schema_extra=_not_empty())

    all: Annotated[bool, Field(description="Every job of the project")] = False
    job_names: Annotated[list[Text], Field(max_length=_MOST_NAMED)] = []
    services: Annotated[list[Text], Field(max_length=_MOST_NAMED)] = []
    statuses: list[Literal["Queued", "Running", "Paused"]] = []
    job_ids: Annotated[list[Text], Field(max_length=_MOST_NAMED)] = []
    session_id: Text | None = None
    submitted_by: Text | None = None

    @model_validator(mode="after")
    def _means_something(self) -> StopFilter:
        named = (self.job_names, self.services, self.statuses, self.job_ids)
        if self.all or any(named) or self.session_id or self.submitted_by:
            return self
        raise ValueError("it is empty: say which jobs, or all: true for every job of the project")


class EmergencyStopRequest(_Model):
    """Which jobs to stop, and why."""

    filter: StopFilter
    reason: Annotated[Reason, Field(description="Why, for the audit trail and the jobs")] = ""


class ControlAnswer(_Model):
    """What was asked of a job; it follows at its next checkpoint."""

    job_id: str
    action: Literal["stop", "pause", "resume"]
    outcome: Literal["requested"]
    #: What the job was doing then.
    status: str
    attempt: int
    requested_at: Time
    requested_by: str
    reason: str | None
    message: str


class EmergencyStopAnswer(_Model):
    """How many jobs were asked to stop."""

    requested: int
    queued: int
    running: int
    paused: int
    #: Jobs that run where this monitor reaches nobody.
    unreachable: int
    #: Jobs that were not asked, because the request could not be written.
    not_written: int
    requested_at: Time
    requested_by: str
    reason: str | None
    job_ids: Annotated[list[str], Field(description=f"{_MOST_SHOWN} at most")]
    unreachable_job_ids: Annotated[list[str], Field(description=f"{_MOST_SHOWN} at most")]
    not_written_job_ids: Annotated[list[str], Field(description=f"{_MOST_SHOWN} at most")]


class AuditEntry(_Model):
    """Who did what."""

    id: int
    at: Time
    actor: str
    action: str
    target: str
    reason: str | None
    outcome: str
    details: dict[str, Any]


class AuditAnswer(_Model):
    """The newest first."""

    entries: list[AuditEntry]
    #: For ``before``, to go on; null if that was all.
    next: int | None


def _control(request: Request) -> Control:
    """The one of this application."""
    state = request.app.state
    found: Control | None = getattr(state, "control", None)
    if found is None:
        found = state.control = Control(state.store, state.settings.home)
    return found


Controls: TypeAlias = Annotated[Control, Depends(_control)]
_STATUSES = {"Queued": "received", "Running": "running", "Paused": "paused"}
_SHOWN = {status: shown for shown, status in _STATUSES.items()}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    409: described("The job's state does not allow it; `jobStatus` says which it is")
}


def _requester(scope: ProjectScope) -> Requester:
    caller = scope.caller
    return Requester(
        scope.project_key, scope.tenant_id, scope.project_id, caller.name, caller.token_id
    )


def asked_of(
    scope: ProjectScope, control: Control, job_id: str, action: Action, reason: str = ""
) -> Asked:
    """Ask a job for something, for the caller.

    Raises:
        UnknownJobError: There is no such job in the project.
        HTTPException: Its state does not allow it: 409; it cannot be asked just now: 503.
    """
    try:
        return control.ask(_requester(scope), job_id, action, reason)
    except RefusedError as exc:
        shown = _SHOWN.get(exc.status, exc.status.capitalize())
        raise ProblemError(409, str(exc), jobStatus=shown) from exc
    except OSError as exc:
        raise HTTPException(503, "the request cannot be written to FIVEOBS_HOME just now") from exc


def _ask(
    scope: ProjectScope,
    control: Control,
    job_id: str,
    action: Action,
    body: ControlRequest | None,
) -> ControlAnswer:
    reason = body.reason if body is not None else ""
    try:
        asked = asked_of(scope, control, job_id, action, reason)
    except UnknownJobError as exc:
        raise HTTPException(404, f"there is no job {job_id!r} in this project") from exc
    return _answer(asked, scope.caller.name, reason)


def _answer(asked: Asked, by: str, reason: str) -> ControlAnswer:
    when = "when it starts" if asked.status == "received" else "at its next checkpoint"
    word = {"stop": "stops", "pause": "pauses", "resume": "goes on"}[asked.action]
    return ControlAnswer(
        job_id=asked.job_id,
        action=asked.action,
        outcome="requested",
        status=_SHOWN[asked.status],
        attempt=asked.attempt,
        requested_at=_time(asked.requested_at_us),
        requested_by=by,
        reason=reason or None,
        message=f"The job {word} {when}",
    )


@router.post(f"{JOB}/stop", summary="Stop a job", status_code=202, responses=_RESPONSES)
def stop_job(
    *, scope: Scope, control: Controls, job_id: JobId, body: ControlRequest | None = None
) -> ControlAnswer:
    """Ask a job to stop. One that waits in a queue stops at its first checkpoint."""
    return _ask(scope, control, job_id, "stop", body)


@router.post(f"{JOB}/pause", summary="Pause a job", status_code=202, responses=_RESPONSES)
def pause_job(
    *, scope: Scope, control: Controls, job_id: JobId, body: ControlRequest | None = None
) -> ControlAnswer:
    """Ask a running job to wait at its next checkpoint."""
    return _ask(scope, control, job_id, "pause", body)


@router.post(f"{JOB}/resume", summary="Resume a job", status_code=202, responses=_RESPONSES)
def resume_job(
    *, scope: Scope, control: Controls, job_id: JobId, body: ControlRequest | None = None
) -> ControlAnswer:
    """Let a paused job go on, or take back a pause that it has not reached."""
    return _ask(scope, control, job_id, "resume", body)


@router.post("/emergency-stop", summary="Stop all jobs of a filter", status_code=202)
def emergency_stop(
    *, scope: Scope, control: Controls, body: EmergencyStopRequest
) -> EmergencyStopAnswer:
    """Ask every job that fits to stop: those that run, and those that wait when they start."""
    named = body.filter
    wanted = Filter(
        job_names=named.job_names,
        services=named.services,
        statuses=[_STATUSES[each] for each in named.statuses],
        session_id=named.session_id,
        submitted_by=named.submitted_by,
        job_ids=named.job_ids,
    )
    try:
        stopped = control.stop_all(_requester(scope), wanted, body.reason)
    except OSError as exc:
        raise HTTPException(503, "FIVEOBS_HOME cannot be read just now") from exc
    asked = [each.job_id for each in stopped.asked if each.outcome == "requested"]
    if stopped.not_written and not asked:
        raise HTTPException(503, "requests cannot be written to FIVEOBS_HOME just now")
    return EmergencyStopAnswer(
        requested=len(asked),
        queued=stopped.count("received"),
        running=stopped.count("running"),
        paused=stopped.count("paused"),
        unreachable=len(stopped.unreachable),
        not_written=len(stopped.not_written),
        requested_at=_time(stopped.requested_at_us),
        requested_by=scope.caller.name,
        reason=body.reason or None,
        job_ids=asked[:_MOST_SHOWN],
        unreachable_job_ids=stopped.unreachable[:_MOST_SHOWN],
        not_written_job_ids=stopped.not_written[:_MOST_SHOWN],
    )


@router.get("/audit", summary="Who did what", dependencies=[Depends(require("admin"))])
def get_audit(
    *,
    scope: Scope,
    store: TheStore,
    job_id: Annotated[
        Text | None, Query(alias="jobId", description="Only what was done to this job")
    ] = None,
    before: Annotated[
        int | None, Query(ge=1, le=2**53, description="What came before this entry")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1_000, description="How many entries")] = 100,
) -> AuditAnswer:
    """The project's audit trail, the newest first.

    Tokens that are good for every project see in it, too, what is about more than one: who made and
    revoked such tokens.
    """
    rows = audit_rows(
        store,
        scope.project_key,
        with_general=scope.caller.sees_all,
        before_key=before,
        target=job_id,
        limit=limit,
    )
    following = rows[-1].audit_key if len(rows) == limit else None
    return AuditAnswer(entries=[_entry(row) for row in rows], next=following)


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        id=row.audit_key,
        at=_time(row.at_us),
        actor=row.actor,
        action=row.action,
        target=row.target,
        reason=row.reason,
        outcome=row.outcome,
        details=dict(row.details or {}),
    )


def _time(at_us: int) -> str:
    moment = _EPOCH + timedelta(microseconds=at_us)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"
