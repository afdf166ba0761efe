"""Tells a failure that one line is to blame for from one that everything waits for."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

__all__ = ["StoreRefusesError", "is_about_values"]

#: SQLSTATE of what only the written values can cause: class 22 (data: a text, a number that the
#: column does not take) and PostgreSQL's limit of an index entry. Class 23 (constraints) is not
#: among them: keys, references and what may not be ``NULL`` come from us, never from a line, so
#: there it is the schema that is not ours; class 42 (names, rights) is the schema's or the role's.
_VALUE_CLASS, _TOO_LARGE = "22", "54000"
#: What drivers raise for a value before the store has seen it, and SQLite for one that is too long.
_VALUE_ERRORS = (OverflowError, RecursionError, TypeError, ValueError)
_VALUE_NAME = "DataError"
#: What a driver says of a value whose type it does not know; it has no class of its own for it.
_OF_A_TYPE = ("binding parameter", "cannot adapt type")


class StoreRefusesError(Exception):
    """Whatever line is tried, the store refuses it: that is not the lines' fault."""


def is_about_values(exc: Exception) -> bool:
    """Whether the same values would fail again, while others would not.

    A store that is locked, full or out of reach, whose schema is another one or that gives us too
    few rights, is not the values' fault: then everything waits.
    """
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    state: str | None = getattr(cause, "sqlstate", None)
    if state is not None:
        return state[:2] == _VALUE_CLASS or state == _TOO_LARGE
    if isinstance(cause, _VALUE_ERRORS) or type(cause).__name__ == _VALUE_NAME:
        return True
    return any(words in str(cause) for words in _OF_A_TYPE)
