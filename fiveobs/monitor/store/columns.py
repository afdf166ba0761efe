"""The kinds of column and index that the tables are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, ColumnElement, Float, Index, Integer, Text

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

__all__ = ["count", "key", "number", "partial", "size", "text", "time"]


def key() -> TypeEngine[int]:
    """64 bits; in SQLite the type must be called INTEGER to be the row id."""
    return BigInteger().with_variant(Integer, "sqlite")


def time(name: str, *, nullable: bool = True) -> Column[int]:
    """A moment: microseconds since 1970, UTC."""
    return Column(name, BigInteger, nullable=nullable)


def text(name: str, *, nullable: bool = True) -> Column[str]:
    """A text of any length."""
    return Column(name, Text, nullable=nullable)


def number(name: str) -> Column[float]:
    """A number with a fraction, 64 bits."""
    return Column(name, Float(53))


def count(name: str) -> Column[int]:
    """How many; 0 at first."""
    return Column(name, BigInteger, nullable=False, server_default="0")


def size(name: str) -> Column[int]:
    """A size in bytes."""
    return Column(name, BigInteger)


def partial(name: str, where: ColumnElement[bool], *columns: Column[Any]) -> None:
    """An index of those rows only for which ``where`` is true."""
    Index(name, *columns, sqlite_where=where, postgresql_where=where)
