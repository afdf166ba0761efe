"""The events track: every event becomes one line of the journal.

Reads nothing; writes through ``fiveobs.journal``. Runs in the job's thread: one serialization and
one ``write``. Safe from any thread and from signal handlers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from fiveobs._redact import Redactor
    from fiveobs.journal.writer import Journal
    from fiveobs.types import JobEvent


class EventsTrack:
    """Writes events to the journal.

    Args:
        journal: The process's journal.
        redactor: Makes a record serializable that is not.
    """

    name = "events"

    def __init__(self, journal: Journal, redactor: Redactor) -> None:
        self._append = journal.append
        self._redactor = redactor

    def on_event(self, event: JobEvent) -> None:
        """Append the event."""
        record = event._record
        try:
            line = orjson.dumps(record, None, orjson.OPT_APPEND_NEWLINE)
        except (TypeError, ValueError):
            cleaned = self._redactor.clean(dict(record))
            line = orjson.dumps(cleaned, None, orjson.OPT_APPEND_NEWLINE)
        kind = (record["event_type"], "sampled" in record, "queue_wait_s" in record["data"])
        self._append(line, kind)
