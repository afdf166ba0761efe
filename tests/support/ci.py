"""What differs in CI (``CI=true``): what talks to real programs, or kills, may not be left out.

A test that is skipped has shown nothing. On a developer's machine that is told and accepted; in CI
a green run means that the real programs received what was sent, so there a skip is a failure.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["fail_if_skipped", "in_ci"]

_TESTS = Path(__file__).resolve().parents[1]
#: All tests in these folders must run, and elsewhere those that are marked ``peer``.
_MUST_RUN = (_TESTS / "peers", _TESTS / "faults")


def in_ci() -> bool:
    """Whether this is a run that must leave nothing out."""
    return os.environ.get("CI") == "true"


def fail_if_skipped(item: pytest.Item, report: pytest.TestReport) -> None:
    """In CI, turn the skip of a test that must run into a failure that says what is not proven."""
    if not (in_ci() and report.skipped and _must_run(item)) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    fact = (getattr(getattr(item, "obj", None), "__doc__", None) or item.name).strip()
    report.outcome = "failed"
    report.longrepr = f"{reason}\nIn CI nothing may be skipped. Not proven: {fact}"


def _must_run(item: pytest.Item) -> bool:
    is_in_folder = any(folder in item.path.parents for folder in _MUST_RUN)
    return is_in_folder or item.get_closest_marker("peer") is not None
