"""The view of ``fiveobs watch`` on a terminal: asks for the state when something has happened.

Two threads: the one that waits for events says that there was one, and rich's asks and draws, a few
times a second at most. So a burst of events costs one question, and bars move between events, too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from fiveobs.cli._screen import Screen, moment, words
from fiveobs.cli._views import head, job_table, stage_table, summary_line, usage
from fiveobs.exceptions import MonitorError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fiveobs.client import Client
    from fiveobs.types import JobEvent

__all__ = ["View", "show_live"]

_DRAWN_PER_S = 4
#: Between two questions at least, and at most (figures change without events), in seconds.
_LEAST_S, _MOST_S = 0.5, 5.0
_EVENTS_SHOWN, _JOBS_SHOWN = 8, 30
_LEVEL_STYLES = {"warning": "yellow", "error": "red", "critical": "bold red"}


def show_live(
    screen: Screen, client: Client, job_id: str | None, events: Iterable[JobEvent]
) -> None:
    """Show until the events end."""
    view = View(client, job_id)
    with Live(
        get_renderable=view.draw,
        console=screen.console,
        refresh_per_second=_DRAWN_PER_S,
        transient=False,
    ) as live:
        for event in events:
            view.note(event)
        view.ask()
        live.refresh()


class View:
    """What is shown now.

    Args:
        client: Who is asked.
        job_id: The job; ``None`` shows all that run.
    """

    def __init__(self, client: Client, job_id: str | None) -> None:
        self._client = client
        self._job_id = job_id
        self._events: deque[JobEvent] = deque(maxlen=_EVENTS_SHOWN)
        self._is_new = True
        self._asked_at = float("-inf")
        self._shown: RenderableType = Text("waiting for the monitor", style="dim")

    def note(self, event: JobEvent) -> None:
        """Something has happened."""
        self._events.append(event)
        self._is_new = True

    def draw(self) -> RenderableType:
        """The state, asked for anew where it is due."""
        passed_s = time.monotonic() - self._asked_at
        if passed_s >= (_LEAST_S if self._is_new else _MOST_S):
            self.ask()
        return Group(self._shown, Text(), *map(_line, list(self._events)))

    def ask(self) -> None:
        """Ask; a monitor that is gone leaves what was known."""
        self._is_new, self._asked_at = False, time.monotonic()
        try:
            self._shown = self._job() if self._job_id else self._jobs()
        except MonitorError as exc:
            self._shown = Group(self._shown, words(exc, "red"))

    def _job(self) -> RenderableType:
        answer = self._client.progress(self._job_id or "")
        return Group(head(answer), Text(), stage_table(answer), Text(), usage(answer))

    def _jobs(self) -> RenderableType:
        answer = self._client.jobs(status="Running", limit=_JOBS_SHOWN)
        return Group(job_table(answer), summary_line(answer))


def _line(event: JobEvent) -> Text:
    style = _LEVEL_STYLES.get(event.level, "dim")
    at = moment(datetime.fromisoformat(event.timestamp))
    parts = (at, " ", words(event.job_name), " ", words(event.event_type), " ")
    return Text.assemble(*parts, words(event.message, style))
