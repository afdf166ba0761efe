"""What the documentation shows can be run; pages that start a monitor are in ``tests/monitor``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from fiveobs.cli import _parse
from tests.support.pages import PAGES, name, reported_by

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"^\$ (fiveobs [^#|\n]*)", re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_the_code_of_a_page_runs(path: Path, tmp_path: Path) -> None:
    """Every Python block of the page runs, and fiveobs has nothing else to report meanwhile."""
    assert reported_by(path, tmp_path) == (0, [])


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))], ids=name)
def test_the_commands_of_a_page_are_understood(path: Path) -> None:
    """Every ``fiveobs`` command that the page shows is one that the command line takes."""
    for command in COMMAND.findall(path.read_text(encoding="utf-8")):
        assert _parse(shlex.split(command)[1:]).command in command
