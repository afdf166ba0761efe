"""Runs programs of the project as a user does: a real process, with the test's environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "run_example"]

ROOT = Path(__file__).resolve().parents[2]


def run_example(
    name: str, *arguments: str, code: int = 0, timeout_s: float = 60.0, **variables: str
) -> str:
    """Run ``examples/NAME`` until it ends and return what it printed.

    Args:
        name: The file.
        arguments: Its command line.
        code: The exit code that it must end with.
        timeout_s: How long it may take.
        variables: Set in its environment, beside this process's.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", f"examples/{name}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == code, (
        f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    assert not done.stderr, f"{name} complained:\n{done.stderr}"
    return done.stdout
