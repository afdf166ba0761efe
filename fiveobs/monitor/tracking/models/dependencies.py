"""The answer about what a job needs and what needs it."""

from __future__ import annotations

from pydantic import Field

from fiveobs.monitor.tracking.models.base import Absent, Model, Number, Time

__all__ = [
    "BlockingCondition",
    "Dependencies",
    "DependenciesAnswer",
    "DependencyGraph",
    "DependentJob",
    "GraphEdge",
    "GraphNode",
    "PrerequisiteJob",
    "ResourceDependency",
]


class PrerequisiteJob(Model):
    """A job that this one needs."""

    job_id: str
    job_name: str | None
    """Null where no such job is known."""
    status: str
    """``Unknown`` where no such job is known."""
    completed_at: Time | None
    dependency: str | None
    """Why, as the job that needs it said."""


class ResourceDependency(Model):
    """Something that the job uses."""

    resource_type: str | None
    """``resource_type`` of the event that reported it; the worker's node is a ``ComputeNode``."""
    resource_id: str
    resource_name: Absent[str] = None
    status: str
    """``Allocated``, ``Released``, or ``status`` of the event, for example ``Available``."""
    allocated_at: Absent[Time] = None
    released_at: Absent[Time] = None
    last_modified: Absent[str] = None
    amount: Absent[Number] = None
    unit: Absent[str] = None


class DependentJob(Model):
    """A job that needs this one."""

    job_id: str
    job_name: str
    status: str
    waiting_for: str | None
    """Why, as it said."""


class Dependencies(Model):
    """Both directions."""

    prerequisite_jobs: list[PrerequisiteJob]
    resource_dependencies: list[ResourceDependency]
    dependent_jobs: list[DependentJob]


class BlockingCondition(Model):
    """What keeps, or kept, the job from going on."""

    condition: str
    status: str
    """``Active`` or ``Resolved``."""
    since: Absent[Time] = None
    resolved_at: Absent[Time] = None
    resolution: Absent[str] = None


class GraphNode(Model):
    """A job in the graph."""

    id: str
    type: str
    """``CurrentJob``, ``PrerequisiteJob``, ``DependentJob``, ``ParentJob`` or ``ChildJob``."""
    status: str


class GraphEdge(Model):
    """Which job comes before which."""

    from_: str = Field(serialization_alias="from")
    to: str
    type: str
    """``prerequisite``, ``dependency``, or ``parent`` from a job to one that began inside it."""


class DependencyGraph(Model):
    """The job and those next to it."""

    nodes: list[GraphNode]
    edges: list[GraphEdge]


class DependenciesAnswer(Model):
    """What a job needs and what needs it."""

    job_id: str
    dependencies: Dependencies
    blocking_conditions: list[BlockingCondition]
    dependency_graph: DependencyGraph
