"""``fiveobs resume JOB``: let a job that is paused go on."""

from __future__ import annotations

import argparse
from typing import Any

from fiveobs.cli._controlling import add_control, run_control

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    add_control(subparsers, "resume", "Let a job that is paused go on.")


def run(args: argparse.Namespace) -> int:
    """Do it."""
    return run_control(args, "resume")
