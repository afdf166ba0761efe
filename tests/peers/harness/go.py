"""Finds the Go that the Collector and compose's loader are built with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

__all__ = ["OLDEST_GO", "find_go", "go_environment"]

#: The oldest Go that all modules compile with.
OLDEST_GO = (1, 26)
#: Where Go's own installer puts it, which not every path leads to.
_USUAL_FOLDER = "/usr/local/go/bin"


def find_go() -> str:
    """The path of a Go that is new enough.

    Raises:
        RuntimeError: There is none; says which one is there.
    """
    needed = f"Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or later"
    found = shutil.which("go") or shutil.which("go", path=_USUAL_FOLDER)
    if found is None:
        raise RuntimeError(f"{needed} is needed to build, and there is no go here")
    version = subprocess.run([found, "version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"go(\d+)\.(\d+)", version)
    if number is None or (int(number[1]), int(number[2])) < OLDEST_GO:
        raise RuntimeError(f"{needed} is needed to build; {found}: {version}")
    return found


def go_environment(go: str, **variables: str) -> dict[str, str]:
    """This process's environment with that Go first on the path, since builds call ``go`` again."""
    path = os.pathsep.join((str(Path(go).parent), os.environ["PATH"]))
    return {**os.environ, "PATH": path, **variables}
