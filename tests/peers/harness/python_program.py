"""Servers and workers that are Python packages: Celery, RQ, gunicorn."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from tests.peers.harness.program import Program, absent
from tests.peers.harness.received import environment

__all__ = ["PythonProgram", "need"]


def need(package: str) -> None:
    """Call `absent` if a package is not installed."""
    if importlib.util.find_spec(package) is None:
        absent(package, "pip install --group peers")


class PythonProgram(Program):
    """``python -m MODULE ARGUMENTS``, with the worker programs to import from.

    Args:
        folder: Where it runs, and keeps its files.
        module: The module to run.
        arguments: Its command line.
        says: What it prints when it is ready.
        variables: To set in its environment.
    """

    def __init__(
        self, folder: Path, module: str, *arguments: object, says: str, **variables: str
    ) -> None:
        self.name = module.partition(".")[0]  # type: ignore[misc]  # a class variable elsewhere
        super().__init__(folder)
        self._module = module
        self._arguments = [str(argument) for argument in arguments]
        self._says = says
        self._variables = variables

    def command(self) -> list[str]:
        """The command line."""
        need(self.name)
        return [sys.executable, "-m", self._module, *self._arguments]

    def environment(self) -> dict[str, str]:
        """Where to import from, and what else it was given."""
        return environment(**self._variables)

    def is_ready(self) -> bool:
        """Whether it has said so."""
        return self._says in self._log_path.read_text(errors="replace")
