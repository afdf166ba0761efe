"""What a job needs, what needs it, and what keeps it from going on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fiveobs.monitor.store.rows import ConditionRow, DependencyRow, JobRow, ResourceRow
from fiveobs.monitor.tracking.human import as_time, number
from fiveobs.monitor.tracking.models.dependencies import (
    BlockingCondition,
    Dependencies,
    DependenciesAnswer,
    DependencyGraph,
    DependentJob,
    GraphEdge,
    GraphNode,
    PrerequisiteJob,
    ResourceDependency,
)
from fiveobs.monitor.tracking.tracked import STATUS_WORDS, Tracked, parsed

__all__ = ["Around", "dependencies_answer"]

#: The state of a condition that keeps a job from going on, as `state_changed` names it.
_BLOCKING = "blocking"


@dataclass(frozen=True, kw_only=True)
class Around:
    """The rows around a job."""

    #: What it needs, and those jobs by id, as far as they are known.
    needs: Sequence[DependencyRow] = ()
    needed: Mapping[str, JobRow] = field(default_factory=dict)
    #: Jobs that need it, each with the reason.
    needing: Sequence[tuple[JobRow, str | None]] = ()
    parent: JobRow | None = None
    children: Sequence[JobRow] = ()
    resources: Sequence[ResourceRow] = ()
    conditions: Sequence[ConditionRow] = ()


def dependencies_answer(tracked: Tracked, around: Around) -> DependenciesAnswer:
    """What a job needs and what needs it."""
    return DependenciesAnswer(
        job_id=tracked.job.job_id,
        dependencies=Dependencies(
            prerequisite_jobs=[_prerequisite(each, around.needed) for each in around.needs],
            resource_dependencies=[*map(_resource, around.resources), *_node(tracked)],
            dependent_jobs=[
                DependentJob(
                    job_id=job.job_id,
                    job_name=job.job_name,
                    status=_status(job),
                    waiting_for=reason,
                )
                for job, reason in around.needing
            ],
        ),
        blocking_conditions=[_condition(each) for each in around.conditions],
        dependency_graph=_graph(tracked, around),
    )


def _status(job: JobRow | None) -> str:
    return "Unknown" if job is None else STATUS_WORDS.get(job.status, job.status.capitalize())


def _prerequisite(row: DependencyRow, needed: Mapping[str, JobRow]) -> PrerequisiteJob:
    job = needed.get(row.needs_job_id)
    is_completed = job is not None and job.status == "completed"
    return PrerequisiteJob(
        job_id=row.needs_job_id,
        job_name=job.job_name if job is not None else None,
        status=_status(job),
        completed_at=as_time(job.ended_at_us) if job is not None and is_completed else None,
        dependency=row.reason,
    )


def _resource(row: ResourceRow) -> ResourceDependency:
    details: dict[str, Any] = parsed(row.details) or {}
    allocated, released = row.allocated_at_us, row.released_at_us
    is_released = released is not None and (allocated is None or released >= allocated)
    said = _text(details, "status")
    return ResourceDependency(
        resource_type=_text(details, "resource_type"),
        resource_id=_text(details, "resource_id") or row.resource,
        resource_name=_text(details, "resource_name"),
        status="Released" if is_released else said or "Allocated",
        allocated_at=as_time(allocated),
        released_at=as_time(released) if is_released else None,
        last_modified=_text(details, "last_modified"),
        amount=number(row.amount),
        unit=row.unit,
    )


def _text(details: Mapping[str, Any], name: str) -> str | None:
    value = details.get(name)
    return str(value) if value is not None else None


def _node(tracked: Tracked) -> Iterator[ResourceDependency]:
    """The machine that the job runs on."""
    worker = tracked.worker
    if worker is not None and worker.machine_id:
        yield ResourceDependency(
            resource_type="ComputeNode",
            resource_id=worker.machine_id,
            status="Released" if tracked.is_ended else "Allocated",
            allocated_at=as_time(tracked.job.started_at_us),
            released_at=as_time(tracked.job.ended_at_us),
        )


def _condition(row: ConditionRow) -> BlockingCondition:
    is_active = row.state == _BLOCKING
    return BlockingCondition(
        condition=row.condition,
        status="Active" if is_active else "Resolved",
        since=as_time(row.changed_at_us) if is_active else None,
        resolved_at=None if is_active else as_time(row.changed_at_us),
        resolution=row.resolution,
    )


def _graph(tracked: Tracked, around: Around) -> DependencyGraph:
    own = tracked.job.job_id
    nodes: dict[str, GraphNode] = {}
    edges = []

    def add(job_id: str, node_type: str, status: str) -> None:
        nodes.setdefault(job_id, GraphNode(id=job_id, type=node_type, status=status))

    for row in around.needs:
        add(row.needs_job_id, "PrerequisiteJob", _status(around.needed.get(row.needs_job_id)))
        edges.append(GraphEdge(from_=row.needs_job_id, to=own, type="prerequisite"))
    if around.parent is not None:
        add(around.parent.job_id, "ParentJob", _status(around.parent))
        edges.append(GraphEdge(from_=around.parent.job_id, to=own, type="parent"))
    add(own, "CurrentJob", tracked.status)
    for job, _ in around.needing:
        add(job.job_id, "DependentJob", _status(job))
        edges.append(GraphEdge(from_=own, to=job.job_id, type="dependency"))
    for job in around.children:
        add(job.job_id, "ChildJob", _status(job))
        edges.append(GraphEdge(from_=own, to=job.job_id, type="parent"))
    return DependencyGraph(nodes=list(nodes.values()), edges=edges)
