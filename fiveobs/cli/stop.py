"""``fiveobs stop JOB``: ask a job to end at its next checkpoint."""

from __future__ import annotations

import argparse
from typing import Any

from fiveobs.cli._controlling import add_control, run_control

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    add_control(subparsers, "stop", "Ask a job to stop: it ends as stopped at its next checkpoint.")


def run(args: argparse.Namespace) -> int:
    """Do it."""
    return run_control(args, "stop")
