"""Answers: what a job needs, and what needs it.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fiveobs.client._reading import Answer

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


@dataclass(frozen=True, kw_only=True)
class PrerequisiteJob(Answer):
    """A job that this one needs."""

    job_id: str
    #: Null where no such job is known.
    job_name: str | None
    #: ``Unknown`` where no such job is known.
    status: str
    completed_at: datetime | None
    #: Why, as the job that needs it said.
    dependency: str | None


@dataclass(frozen=True, kw_only=True)
class ResourceDependency(Answer):
    """Something that the job uses."""

    #: ``resource_type`` of the event that reported it; the worker's node is a ``ComputeNode``.
    resource_type: str | None
    resource_id: str
    resource_name: str | None = None
    #: ``Allocated``, ``Released``, or ``status`` of the event, for example ``Available``.
    status: str
    allocated_at: datetime | None = None
    released_at: datetime | None = None
    last_modified: str | None = None
    amount: float | None = None
    unit: str | None = None


@dataclass(frozen=True, kw_only=True)
class DependentJob(Answer):
    """A job that needs this one."""

    job_id: str
    job_name: str
    status: str
    #: Why, as it said.
    waiting_for: str | None


@dataclass(frozen=True, kw_only=True)
class Dependencies(Answer):
    """Both directions."""

    prerequisite_jobs: tuple[PrerequisiteJob, ...]
    resource_dependencies: tuple[ResourceDependency, ...]
    dependent_jobs: tuple[DependentJob, ...]


@dataclass(frozen=True, kw_only=True)
class BlockingCondition(Answer):
    """What keeps, or kept, the job from going on."""

    condition: str
    #: ``Active`` or ``Resolved``.
    status: str
    since: datetime | None = None
    resolved_at: datetime | None = None
    resolution: str | None = None


@dataclass(frozen=True, kw_only=True)
class GraphNode(Answer):
    """A job in the graph."""

    id: str
    #: ``CurrentJob``, ``PrerequisiteJob``, ``DependentJob``, ``ParentJob`` or ``ChildJob``.
    type: str
    status: str


@dataclass(frozen=True, kw_only=True)
class GraphEdge(Answer):
    """Which job comes before which."""

    from_: str
    to: str
    #: ``prerequisite``, ``dependency``, or ``parent`` from a job to one that began inside it.
    type: str


@dataclass(frozen=True, kw_only=True)
class DependencyGraph(Answer):
    """The job and those next to it."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]


@dataclass(frozen=True, kw_only=True)
class DependenciesAnswer(Answer):
    """What a job needs and what needs it."""

    job_id: str
    dependencies: Dependencies
    blocking_conditions: tuple[BlockingCondition, ...]
    dependency_graph: DependencyGraph
