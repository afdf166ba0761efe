"""Tells a failure that one line is to blame for from one that will pass."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

__all__ = ["is_about_values"]

#: The standard's classes of SQLSTATE that are about what is written: data, constraints, names,
#: and (PostgreSQL's) limits such as that of an index entry.
_VALUE_STATES = ("22", "23", "42", "54")
_VALUE_ERRORS = frozenset({"DataError", "IntegrityError", "ProgrammingError", "NotSupportedError"})


def is_about_values(exc: Exception) -> bool:
    """Whether the same values would fail again, while others would not.

    A store that is locked, full or out of reach is not the values' fault: then everything waits.
    """
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_VALUE_STATES)
    if type(cause).__name__ in _VALUE_ERRORS:
        return True
    return isinstance(cause, OverflowError | TypeError | ValueError)
