"""``fiveobs pause JOB``: ask a job to wait at its next checkpoint."""

from __future__ import annotations

import argparse
from typing import Any

from fiveobs.cli._controlling import add_control, run_control

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    add_control(
        subparsers,
        "pause",
        "Ask a job to pause: it waits at its next checkpoint until it is resumed or stopped.",
    )


def run(args: argparse.Namespace) -> int:
    """Do it."""
    return run_control(args, "pause")
