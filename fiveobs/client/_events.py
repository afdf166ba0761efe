"""Reads server-sent events: bytes in, messages out.

Lines end with LF, CR LF or CR and with nothing else, so text with other separators stays whole.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["EventStream", "Message"]

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Message(NamedTuple):
    """One event of a stream."""

    #: ``message`` where the server names none.
    name: str
    data: str


class EventStream:
    """One connection's stream.

    Args:
        last_event_id: What the connection before had.
    """

    def __init__(self, last_event_id: str = "") -> None:
        #: Of the last message that was given out, or that a line set without any data.
        self.last_event_id = last_event_id
        #: How long to wait before the next connection, in seconds, if the server said.
        self.retry_s: float | None = None
        #: A comment has come: the server's sign of life, where it has nothing to send.
        self.has_comment = False
        self._rest = b""
        #: Whether an LF that comes next belongs to a line that has ended.
        self._is_after_cr = False
        self._id = last_event_id
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Take what has come; give each message that is whole."""
        if self._is_after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._is_after_cr = chunk.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(self._rest + chunk)
        for line in lines:
            message = self._take(line.decode("utf-8", "replace"))
            if message is not None:
                yield message

    def _take(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        self.has_comment = self.has_comment or not field
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdecimal():
            self.retry_s = int(value) / 1000
        return None

    def _dispatch(self) -> Message | None:
        name, data = self._name, self._data
        self._name, self._data = "", []
        self.last_event_id = self._id
        return Message(name or "message", "\n".join(data)) if data else None
