"""Makes the answers' classes from JSON, by the types of their fields.

Lenient towards monitors of other versions: a field that is not known is passed over (and kept in
``raw``), one that is missing is ``None`` where it may be.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from fiveobs.exceptions import AnswerError

__all__ = ["Answer", "field_name", "read"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A part of what a monitor answered."""

    #: The JSON object that it was made from, with what this version of the client does not know.
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def read(kind: Callable[..., T], value: Any) -> T:
    """Make what a call promises from the JSON that came.

    Args:
        kind: A class of answers, a tuple of one, or any other type for JSON as it is.
        value: Parsed JSON.

    Raises:
        AnswerError: The JSON is not of that shape; the message names the field.
    """
    result: T = _reader(kind)(value, "the answer")
    return result


def field_name(name: str) -> str:
    """The JSON name of a field, where its class does not say otherwise."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


@cache
def _reader(kind: Any) -> Callable[[Any, str], Any]:
    if isinstance(kind, type) and issubclass(kind, Answer):
        return _object_reader(kind)
    origin = get_origin(kind)
    if origin is tuple:
        return _list_reader(_reader(get_args(kind)[0]))
    if origin in (Union, types.UnionType):
        return _optional_reader([each for each in get_args(kind) if each is not type(None)])
    return _datetime if kind is datetime else _as_it_is


def _object_reader(kind: type[Answer]) -> Callable[[Any, str], Any]:
    # Looked up when the first one is read: a class may hold others of its own kind.
    plan: list[tuple[str, str, bool, Callable[[Any, str], Any]]] = []

    def read_object(value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            raise AnswerError(f"{where} is no {kind.__name__}: {value!r:.80}")
        if not plan:
            plan.extend(_plan(kind))
        found: dict[str, Any] = {"raw": value}
        for name, json_name, is_required, reader in plan:
            if json_name in value:
                found[name] = reader(value[json_name], f"{where}, {json_name}")
            elif is_required:
                raise AnswerError(f"{where} has no {json_name}: is the monitor of this version?")
        return kind(**found)

    return read_object


def _plan(kind: type[Answer]) -> list[tuple[str, str, bool, Callable[[Any, str], Any]]]:
    hints = get_type_hints(kind)
    return [
        (
            each.name,
            each.metadata.get("json", field_name(each.name)),
            each.default is MISSING and each.default_factory is MISSING,
            _reader(hints[each.name]),
        )
        for each in fields(kind)
        if each.name != "raw"
    ]


def _list_reader(reader: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def read_list(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise AnswerError(f"{where} is no list: {value!r:.80}")
        return tuple(reader(each, f"{where}[{at}]") for at, each in enumerate(value))

    return read_list


def _optional_reader(kinds: list[Any]) -> Callable[[Any, str], Any]:
    reader = _reader(kinds[0]) if len(kinds) == 1 else _as_it_is

    def read_optional(value: Any, where: str) -> Any:
        return None if value is None else reader(value, where)

    return read_optional


def _datetime(value: Any, where: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError) as exc:
        raise AnswerError(f"{where} is no time: {value!r:.80}") from exc


def _as_it_is(value: Any, where: str) -> Any:
    return value
