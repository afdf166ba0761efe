"""The job's body alone: what the loop and the clock cost."""

from __future__ import annotations

from bench._case import Case, Plan, work_for

REQUIRES = ""


def environment(plan: Plan) -> dict[str, str]:
    """Nothing to set."""
    del plan
    return {}


def build(plan: Plan) -> Case:
    """Nothing to wire."""
    return Case(job=work_for(plan))
