"""What the demo shows while it works: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Protocol, Self

from _demo.journal import State, Worker

__all__ = ["Display", "display"]

_PLAIN_PAUSE_S = 1.0


class Display(Protocol):
    """Both kinds of display; a context manager."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *exc_info: object) -> None:
        """Show the last state and end."""

    def show(self, state: State) -> None:
        """Show the present state; may be called as often as one likes."""

    def say(self, text: str) -> None:
        """Print a line."""


def display(*, is_plain: bool) -> Display:
    """The one that fits where the output goes."""
    if is_plain or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return _Plain()
    try:
        return _Rich()
    except ImportError:
        print("(pip install 'fiveobs[demo]' for a live display)")
        return _Plain()


class _Plain:
    """A line a second."""

    def __init__(self) -> None:
        self._started_at = time.monotonic()
        self._shown_at = self._started_at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing to tidy up."""

    def show(self, state: State) -> None:
        now = time.monotonic()
        if now - self._shown_at < _PLAIN_PAUSE_S and len(state.ended) < len(state.paths):
            return
        self._shown_at = now
        seconds = now - self._started_at
        workers = "; ".join(
            f"{each.name} {each.done} done {each.failed} failed, {_doing(each)}"
            for each in _workers(state)
        )
        done, total = len(state.ended), len(state.paths)
        rate = done / seconds
        print(f"{seconds:5.1f} s  {done:>4}/{total}  {rate:5.1f}/s  {workers}", flush=True)

    def say(self, text: str) -> None:
        print(text, flush=True)


class _Rich:
    """A progress bar and a table of the workers."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = Console()
        self._progress = Progress(
            TextColumn("[bold]indexing"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._bar: Any = self._progress.add_task("", total=None)
        self._live = Live(self._progress, console=self._console, refresh_per_second=10)
        self._started_at = time.monotonic()

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, state: State) -> None:
        from rich.console import Group

        self._progress.update(self._bar, completed=len(state.ended), total=len(state.paths))
        self._live.update(Group(self._progress, self._table(state)))

    def _table(self, state: State) -> Any:
        from rich.table import Table
        from rich.text import Text

        seconds = max(time.monotonic() - self._started_at, 0.001)
        table = Table("worker", expand=True)
        table.add_column("works on", ratio=1, no_wrap=True)
        for title in ("done", "failed", "per second"):
            table.add_column(title, justify="right", min_width=6)
        for each in _workers(state):
            rate = f"{(each.done + each.failed) / seconds:.1f}"
            failed = Text(str(each.failed), style="red" if each.failed else "")
            table.add_row(each.name, Text(_doing(each)), str(each.done), failed, rate)
        return table

    def say(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(text))


def _workers(state: State) -> list[Worker]:
    return sorted(state.workers.values(), key=lambda worker: worker.name)


def _doing(worker: Worker) -> str:
    if worker.is_dead:
        return "killed"
    if not worker.path:
        return "-"
    short = "/".join(worker.path.replace("\\", "/").rsplit("/", 2)[-2:])
    return f"{short} ({worker.stage})" if worker.stage else short
