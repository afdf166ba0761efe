"""Receivers that are Node programs: installs their packages once, and runs them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.peers.harness.program import CACHE, HOST, Program, absent, free_port

__all__ = ["NodeProgram", "install", "modules"]

_SCRIPTS = Path(__file__).parent / "node"
_PACKAGE = _SCRIPTS / "package.json"
#: What Spotlight needs.
_OLDEST_NODE = 20
_INSTALL_TIMEOUT_S = 600.0
_REMEDY = "install Node.js 20 or newer with npm, and run `make peers`"


class NodeProgram(Program):
    """A script of the folder ``node``, which takes its settings as JSON.

    Args:
        folder: Where it keeps its files.
    """

    #: What it writes down goes there, below ``folder``.
    file_name = "received.jsonl"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()

    def settings(self) -> dict[str, Any]:
        """What the script gets beside host, port and file."""
        return {}

    def command(self) -> list[str]:
        """Node, the script, the packages, the settings."""
        folder = modules()
        settings = {"host": HOST, "port": self.port, "file": str(self._file), **self.settings()}
        script = _SCRIPTS / f"{self.name}.mjs"
        return [_node(), str(script), str(folder), json.dumps(settings)]

    @property
    def count(self) -> int:
        """How many entries or envelopes came in; quicker than reading them."""
        return len(self._lines())

    @property
    def _file(self) -> Path:
        return self.folder / self.file_name

    def _lines(self) -> list[bytes]:
        """The whole lines of what was written down, also by runs that were killed."""
        if not self._file.exists():
            return []
        return [
            line.rstrip(b"\n")
            for line in self._file.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")
        ]


def modules() -> Path:
    """The folder whose ``node_modules`` holds the packages; calls `absent` if there is none."""
    problem = _problem()
    if problem:
        absent("Node.js", f"{problem}; {_REMEDY}")
    if not _folder().is_dir():
        absent("the Node packages of the peer tests", "run `make peers`")
    return _folder()


def install() -> Path:
    """Fetch the packages if they are not there; return their folder.

    Raises:
        RuntimeError: There is no Node.js that can run them, or npm failed.
    """
    problem = _problem()
    if problem:
        raise RuntimeError(f"{problem}; {_REMEDY}")
    folder = _folder()
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as made:
            _npm_install(Path(made) / "packages")
            with contextlib.suppress(OSError):  # somebody else was faster
                (Path(made) / "packages").rename(folder)
    return folder


def _npm_install(folder: Path) -> None:
    folder.mkdir()
    shutil.copy(_PACKAGE, folder)
    # No scripts: nothing of what is fetched runs now. No lock file: it would name a registry.
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
    done = subprocess.run(
        [_npm(), "install", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"npm install failed:\n{done.stdout}{done.stderr}")


def _folder() -> Path:
    return CACHE / "node" / hashlib.sha256(_PACKAGE.read_bytes()).hexdigest()[:16]


@functools.cache
def _problem() -> str:
    """Why the packages cannot be used here; empty if they can."""
    if shutil.which("node") is None:
        return "node is not installed"
    if shutil.which("npm") is None:
        return "npm is not installed"
    answer = subprocess.run([_node(), "--version"], capture_output=True, text=True, check=False)
    version = answer.stdout.strip().removeprefix("v")
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) < _OLDEST_NODE:
        return f"node is {version or 'broken'}"
    return ""


def _node() -> str:
    return shutil.which("node") or "node"


def _npm() -> str:
    return shutil.which("npm") or "npm"
