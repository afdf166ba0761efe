"""What the documentation shows, as programs.

The Python blocks of a page run in order, in one process of their own. Code in a comment that
begins ``<!-- run-first`` runs where it stands and is not shown: it makes up what a block takes for
granted.
``<!-- reports: x -->`` says that fiveobs has something to report about ``x`` there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["PAGES", "SERVING", "name", "reported_by"]

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(
    r"^```python\n(?P<shown>.*?)^```$|^<!-- run-first\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
_REPORTS = re.compile(r"^<!-- reports: (.+) -->$", re.MULTILINE)
_ALL = sorted(
    path
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if "```python" in path.read_text(encoding="utf-8")
)
#: Pages whose code starts a monitor; and the others that have code.
SERVING = [path for path in _ALL if '"serve"' in path.read_text(encoding="utf-8")]
PAGES = [path for path in _ALL if path not in SERVING]
#: What a page takes for granted whose text is not to hold it.
_GIVEN = {
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
    """Of a page, from the root."""
    return path.relative_to(ROOT).as_posix()


def _program(path: Path) -> str:
    """The page's code, each line where it stands on the page, so that a traceback points there."""
    text = path.read_text(encoding="utf-8")
    lines = [""] * (text.count("\n") + 1)
    for block in _BLOCK.finditer(text):
        code = block["shown"] if block["shown"] is not None else block["hidden"]
        first = text.count("\n", 0, block.start()) + 1
        lines[first : first + code.count("\n")] = code.splitlines()
    lines[0] = "from given import *"
    return "\n".join(lines)


def reported_by(path: Path, folder: Path) -> tuple[int, list[str]]:
    """Run a page's code in a folder: its exit code, and what it said and was not to say."""
    script = folder / f"{path.stem}.py"
    script.write_text(_program(path), encoding="utf-8")
    (folder / "given.py").write_text(_GIVEN.get(name(path), ""), encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "FIVEOBS_HOME": str(folder / "home"),
        "FIVEOBS_SHUTDOWN_TIMEOUT": "10s",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = tuple(_REPORTS.findall(path.read_text(encoding="utf-8")))
    said = [each for each in done.stderr.splitlines() if not each.startswith(expected)]
    return done.returncode, said
