"""What the documentation shows can be run.

The Python blocks of a page run in order, in one process of their own. Code in a comment that
begins ``<!-- run-first`` runs where it stands and is not shown: it makes up what a block takes for
granted.
``<!-- reports: x -->`` says that fiveobs has something to report about ``x`` there.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fiveobs.cli import _parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if "```python" in path.read_text(encoding="utf-8")
)
BLOCK = re.compile(
    r"^```python\n(?P<shown>.*?)^```$|^<!-- run-first\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
REPORTS = re.compile(r"^<!-- reports: (.+) -->$", re.MULTILINE)
COMMAND = re.compile(r"^\$ (fiveobs [^#|\n]*)", re.MULTILINE)
#: What a page takes for granted whose text is not to hold it.
GIVEN = {
    "docs/design/0001-architecture.md": """
queue = payload = 1
job_id = "job-12345"
def send(*args, **kwargs): ...
""",
    "docs/howto/testing.md": """
import sys, types
import pytest
from fiveobs import current_job, observe_job
@observe_job("resize", service="thumbnails")
def resize(path):
    with current_job().stage("Scale"):
        current_job().log.info("resized", path=path)
sys.modules["thumbnails"] = types.SimpleNamespace(resize=resize)
""",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def program(path: Path) -> str:
    """The page's code, each line where it stands on the page, so that a traceback points there."""
    text = path.read_text(encoding="utf-8")
    lines = [""] * (text.count("\n") + 1)
    for block in BLOCK.finditer(text):
        code = block["shown"] if block["shown"] is not None else block["hidden"]
        first = text.count("\n", 0, block.start()) + 1
        lines[first : first + code.count("\n")] = code.splitlines()
    lines[0] = "from given import *"
    return "\n".join(lines)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_the_code_of_a_page_runs(path: Path, tmp_path: Path) -> None:
    """Every Python block of the page runs, and fiveobs has nothing else to report meanwhile."""
    script = tmp_path / f"{path.stem}.py"
    script.write_text(program(path), encoding="utf-8")
    (tmp_path / "given.py").write_text(GIVEN.get(name(path), ""), encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "FIVEOBS_HOME": str(tmp_path / "home"),
        "FIVEOBS_SHUTDOWN_TIMEOUT": "10s",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = tuple(REPORTS.findall(path.read_text(encoding="utf-8")))
    reported = [each for each in done.stderr.splitlines() if not each.startswith(expected)]
    assert (done.returncode, reported) == (0, [])


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))], ids=name)
def test_the_commands_of_a_page_are_understood(path: Path) -> None:
    """Every ``fiveobs`` command that the page shows is one that the command line takes."""
    for command in COMMAND.findall(path.read_text(encoding="utf-8")):
        assert _parse(shlex.split(command)[1:]).command in command
