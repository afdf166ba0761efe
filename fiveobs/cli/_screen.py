"""Shows what a monitor says: rich tables and bars on a terminal, plain ones elsewhere.

What is no terminal gets no colours, no blanks at the ends of lines, and lines as long as they are.
Somebody else's text is shown on one line, without what could steer a terminal.
"""

from __future__ import annotations

import io
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fiveobs.cli._terminal import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Screen", "as_json", "bar", "columns", "moment", "percent", "status_text", "words"]

#: Wide enough for any table.
_NO_WIDTH = 2_000
_BAR_WIDTH = 20
_STATUS_STYLES = {
    "running": "cyan",
    "completed": "green",
    "failed": "bold red",
    "lost": "bold red",
    "paused": "yellow",
    "queued": "yellow",
    "skipped": "dim",
    "pending": "dim",
}


class Screen:
    """Where a command shows its tables.

    Args:
        colour: ``auto``, ``always`` or ``never``.
        stream: The stream; ``None`` takes standard output.
    """

    def __init__(self, colour: str = "auto", stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        if isinstance(self._stream, io.TextIOWrapper):
            self._stream.reconfigure(errors="replace")
        is_live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        #: Whether it may be drawn over.
        self.can_redraw = is_live and colour != "never"
        is_coloured = {"always": True, "never": False}.get(colour, is_live)
        self.console = Console(
            file=self._stream,
            force_terminal=is_coloured,
            no_color=None if colour == "auto" else not is_coloured,
            width=None if self._stream.isatty() else _NO_WIDTH,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def show(self, *parts: RenderableType) -> None:
        """Print, one below the other."""
        with self.console.capture() as captured:
            for part in parts:
                self.console.print(part)
        for line in captured.get().splitlines():
            self._stream.write(line.rstrip() + "\n")


def columns(*names: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns in ``right`` are aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        table.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=name != "id",
            overflow="fold" if name == "id" else "ellipsis",  # half an id is none
        )
    return table


def words(text: object, style: str = "") -> Text:
    """Somebody's text; a dash where there is none."""
    return Text("-", style="dim") if text in (None, "") else Text(plain(text), style=style)


def status_text(status: str) -> Text:
    """A status in its colour."""
    return Text(plain(status), style=_STATUS_STYLES.get(status.lower(), ""))


def bar(share: float | None) -> RenderableType:
    """How far something is, in percent; a dash where nobody knows."""
    if share is None:
        return words(None)
    completed = min(max(share, 0.0), 100.0)
    return ProgressBar(total=100.0, completed=completed, width=_BAR_WIDTH)


def percent(share: float | None) -> Text:
    """A share in percent."""
    return words(None if share is None else f"{share:.0f}%")


def moment(at: datetime | None, now: datetime | None = None) -> Text:
    """A time where the user is: of today only the time, else the date too."""
    if at is None:
        return words(None)
    local, today = at.astimezone(), (now or datetime.now().astimezone()).date()
    return words(f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}")


def as_json(value: Any) -> str:
    """JSON for people and programs."""
    import json

    return json.dumps(value, indent=2, ensure_ascii=False)
