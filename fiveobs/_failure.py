"""An exception as event data: type, message, stack trace; redacted, cut, and safe to serialize."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fiveobs._redact import Redactor

#: Longest error message kept, in characters; and the frames of a stack trace.
_MAX_MESSAGE = 4096
_MAX_FRAMES = 50
#: Longest first line of a message that goes into an event's own message, in characters.
_MAX_LINE = 200


def error_data(
    redactor: Redactor, error: BaseException, *, with_stack: bool = True
) -> dict[str, str]:
    """What is kept of an exception: ``type``, ``message`` and ``stacktrace``."""
    data = {"type": error_type(error), "message": redactor.text(message_of(error))}
    if with_stack:
        data["stacktrace"] = redactor.text(stack_of(error))
    return data


def error_type(error: BaseException) -> str:
    """The name of an exception's class, with its module unless that is ``builtins``."""
    kind = type(error)
    module = getattr(kind, "__module__", "")
    name = getattr(kind, "__qualname__", kind.__name__)
    return name if module in ("builtins", "", None) else f"{module}.{name}"


def error_line(redactor: Redactor, error: BaseException) -> str:
    """An exception in one line."""
    lines = message_of(error).splitlines()
    line = f"{type(error).__name__}: {lines[0][:_MAX_LINE] if lines else ''}"
    return redactor.text(line.rstrip(": "))


def stack_of(error: BaseException) -> str:
    """The innermost frames of its traceback, as Python shows them."""
    try:
        return "".join(traceback.format_exception(error, limit=-_MAX_FRAMES))
    except Exception:  # an exception's own notes or attributes raise
        return "".join(traceback.format_tb(error.__traceback__, limit=-_MAX_FRAMES))


def message_of(error: BaseException) -> str:
    """Its message, cut; never raises."""
    try:
        return str(error)[:_MAX_MESSAGE]
    except Exception:
        return f"<the message of this {type(error).__name__} cannot be shown>"
