"""The enhanced-monitoring API: lists of executions and of steps, and the log of an execution."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal, TypeAlias

import orjson
from fastapi import Depends, HTTPException, Path, Query, Request

from fiveobs.monitor.api.asked import Moment, in_order
from fiveobs.monitor.api.dependencies import MOST_ID, TokensScope
from fiveobs.monitor.api.problems import invalid
from fiveobs.monitor.api.routers import make_router
from fiveobs.monitor.api.tracking import Status
from fiveobs.monitor.enhanced.executions import Lists, StepMark, Steps, Workflow
from fiveobs.monitor.enhanced.models import ExecutionLog, Page, StepExecution, WorkflowExecution
from fiveobs.monitor.store.executions import Executions, Mark
from fiveobs.monitor.tracking.tracked import STATUSES

__all__ = ["list_executions", "list_logs", "list_steps", "router"]

_DEFAULT, _MOST = 100, 1_000
_LEVELS = {"DEBUG": 0, "INFO": 20, "WARNING": 30, "ERROR": 40}
_MOST_KEY = 2**63 - 1

router = make_router("Enhanced monitoring", "/api/v1/enhanced-monitoring")


def _lists(request: Request) -> Lists:
    return Lists(request.app.state.store)


_Lists: TypeAlias = Annotated[Lists, Depends(_lists)]
_Text = Query(min_length=1, max_length=MOST_ID, pattern=r"^[^\x00]*$")
WorkflowId: TypeAlias = Annotated[str | None, _Text]
Service: TypeAlias = Annotated[str | None, _Text]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=_MOST, description="How many at most")]
Cursor: TypeAlias = Annotated[
    str | None, Query(max_length=256, description="`next` of the page before, to go on")
]
Sort: TypeAlias = Annotated[
    Literal["created_at", "-created_at", "execution_time", "-execution_time"],
    Query(
        description="By when they were first heard of, or by how long they took (those that have "
        "ended, then); with `-` the last or the longest first"
    ),
]
After: TypeAlias = Annotated[
    Moment | None, Query(description="Only those first heard of from then on")
]
Before: TypeAlias = Annotated[Moment | None, Query(description="Only those up to then")]


def _workflow(workflow_id: str | None, service: str | None) -> Workflow | None:
    if workflow_id is None and service is not None:
        detail = "say of which workflow, with workflow_id: services have several"
        raise invalid("query", "service", service, detail)
    return None if workflow_id is None else Workflow(workflow_id, service)


def _executions(
    scope: TokensScope, status: str | None, from_us: int | None, to_us: int | None, sort: str
) -> Executions:
    in_order("query", from_us, to_us, ("created_after", "created_before"))
    return Executions(
        project_key=scope.project_key,
        status=None if status is None else STATUSES[status],
        from_us=from_us,
        to_us=to_us,
        sort=sort.removeprefix("-"),
        is_descending=sort.startswith("-"),
    )


@router.get("/enhanced-metrics/workflow-executions", summary="List executions with their figures")
def list_executions(
    *,
    scope: TokensScope,
    lists: _Lists,
    workflow_id: WorkflowId = None,
    service: Service = None,
    status: Annotated[Status | None, Query(description="Only those in this status")] = None,
    created_after: After = None,
    created_before: Before = None,
    sort: Sort = "-created_at",
    limit: Limit = _DEFAULT,
    cursor: Cursor = None,
) -> Page[WorkflowExecution]:
    """Jobs: how long they took, how many steps they had, how often they were tried, what they used.

    The newest first, if not said otherwise.
    """
    wanted = _executions(scope, status, created_after, created_before, sort)
    mark = Mark(*_place(cursor, sort, 2)) if cursor is not None else None
    found, following = lists.workflows(wanted, _workflow(workflow_id, service), mark, limit)
    return Page(items=found, next=None if following is None else _cursor(sort, *following))


@router.get("/enhanced-metrics/step-executions", summary="List steps with their figures")
def list_steps(
    *,
    scope: TokensScope,
    lists: _Lists,
    workflow_id: WorkflowId = None,
    service: Service = None,
    execution_id: Annotated[
        str | None, Query(min_length=1, max_length=MOST_ID, description="Only of this job")
    ] = None,
    step_name: Annotated[str | None, _Text] = None,
    status: Annotated[
        Literal["Running", "Completed", "Failed"] | None,
        Query(description="Only steps in this status"),
    ] = None,
    created_after: After = None,
    created_before: Before = None,
    sort: Sort = "-created_at",
    limit: Limit = _DEFAULT,
    cursor: Cursor = None,
) -> Page[StepExecution]:
    """Stages of jobs, those of one job together and in their order; jobs are sorted as asked."""
    wanted = _executions(scope, None, created_after, created_before, sort)
    mark = None
    if cursor is not None:
        value, job_key, order = _place(cursor, sort, 3)
        mark = StepMark(Mark(value, job_key), order)
    steps = Steps(execution_id, step_name, status)
    found, following = lists.steps(wanted, _workflow(workflow_id, service), steps, mark, limit)
    place = None if following is None else (*following.job, following.order)
    return Page(items=found, next=None if place is None else _cursor(sort, *place))


@router.get("/logs/{execution_id:text}", summary="List the log of an execution")
def list_logs(
    *,
    scope: TokensScope,
    lists: _Lists,
    execution_id: Annotated[
        str, Path(min_length=1, max_length=MOST_ID, description="The job's id")
    ],
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Query(description="The least level that is shown"),
    ] = "DEBUG",
    limit: Limit = _DEFAULT,
    cursor: Cursor = None,
) -> Page[ExecutionLog]:
    """Every event and log line of the job, in the order in which they came in."""
    after = _place(cursor, "log", 1)[0] if cursor is not None else 0
    try:
        found, following = lists.logs(
            scope.project_key, execution_id, _LEVELS[log_level], after, limit
        )
    except KeyError as exc:
        detail = f"there is no execution {execution_id!r} in this project"
        raise HTTPException(404, detail) from exc
    return Page(items=found, next=None if following is None else _cursor("log", following))


# --- cursors -----------------------------------------------------------------------------------


def _cursor(sort: str, *place: float) -> str:
    """A place in a list, and in which; not to be read by anybody else."""
    return base64.urlsafe_b64encode(orjson.dumps([sort, *place])).decode().rstrip("=")


def _place(cursor: str, sort: str, count: int) -> list[Any]:
    """The numbers of a cursor: what is sorted by, and keys.

    Raises:
        ProblemError: It is none of this list: 422.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        found = None
    is_place = isinstance(found, list) and len(found) == count + 1 and found[0] == sort
    if not is_place or not all(_is_key(each) for each in found[2:]) or not _is_number(found[1]):
        valid = "valid is the `next` of a page of this list in this order"
        raise invalid("query", "cursor", cursor, valid)
    return list(found[1:])


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -_MOST_KEY <= value <= _MOST_KEY  # type: ignore[operator]


def _is_key(value: object) -> bool:
    return type(value) is int and -1 <= value <= _MOST_KEY
