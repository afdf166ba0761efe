"""What the documentation shows of a monitor can be run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pages import SERVING, name, reported_by


def test_there_are_such_pages() -> None:
    """Those of how to ask a monitor, at least."""
    assert "docs/howto/ask-the-monitor.md" in map(name, SERVING)


@pytest.mark.parametrize("path", SERVING, ids=name)
def test_the_code_of_a_page_runs(path: Path, tmp_path: Path) -> None:
    """Every Python block of the page runs, and fiveobs has nothing else to report meanwhile."""
    assert reported_by(path, tmp_path) == (0, [])
