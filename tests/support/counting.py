"""How much work something is, counted instead of timed: the same on a busy machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import fiveobs

__all__ = ["instructions_of"]

_PACKAGE = str(Path(fiveobs.__file__).parent)


def instructions_of(work: Callable[[], object]) -> int:
    """How many instructions of the package's own code this thread runs to do it.

    Each turn of a loop counts, and what a library or a function written in C does counts as one.
    """
    count = 0

    def enter(frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    def step(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
