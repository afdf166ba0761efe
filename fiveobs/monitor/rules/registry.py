"""Processors and launchers: Python code of others that rules may have called, by name.

What is registered in this process comes first, then what installed packages name as entry points.
Those are loaded when they are first needed, and run with the monitor's rights.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar

from fiveobs.types import JobEvent

__all__ = [
    "LAUNCHERS",
    "PROCESSORS",
    "Firing",
    "Launch",
    "Launcher",
    "Processor",
    "UnknownNameError",
    "find",
    "register_launcher",
    "register_processor",
]

PROCESSORS, LAUNCHERS = "fiveobs.processors", "fiveobs.launchers"
T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class Firing:
    """Why something is called."""

    #: The event that the rule is for.
    event: JobEvent
    #: The same for every try, also after a restart: do what has this key once.
    idempotency_key: str
    rule_id: str
    rule_name: str
    #: As the rule has them, with its placeholders replaced.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: What was awaited after the event, and did not happen; ``None`` if nothing was.
    missed: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch(Firing):
    """A job that is to be started."""

    #: Its id, which is the same for every try.
    job_id: str
    #: To be sent along: ``observe_job(..., carrier=carrier)`` goes on with the event's trace,
    #: session and request, and has the event's job as its parent.
    carrier: Mapping[str, str]


class Processor(Protocol):
    """Does something on account of an event. What it raises is tried again."""

    def __call__(self, firing: Firing, /) -> object:
        """Do it; what it returns is left alone. May block: it has a thread to itself."""


class Launcher(Protocol):
    """Starts a job. What it raises is tried again."""

    def __call__(self, launch: Launch, /) -> object:
        """Start it, or put it into a queue; what it returns is left alone."""


class UnknownNameError(LookupError):
    """Nothing is registered under a name."""


_registered: dict[tuple[str, str], Callable[[Any], object]] = {}
_lock = threading.Lock()


def register_processor(name: str, processor: Processor | None = None) -> Any:
    """Have rules call this as ``process: {processor: NAME}``; also as a decorator.

    Args:
        name: What rules call it.
        processor: Called with a `Firing`, in a thread; ``None`` gives a decorator.
    """
    return _register(PROCESSORS, name, processor)


def register_launcher(name: str, launcher: Launcher | None = None) -> Any:
    """Have rules start jobs with this as ``launch: {launcher: NAME}``; also as a decorator.

    Args:
        name: What rules call it.
        launcher: Called with a `Launch`, in a thread; ``None`` gives a decorator.
    """
    return _register(LAUNCHERS, name, launcher)


def _register(group: str, name: str, found: Any) -> Any:
    if found is None:
        return lambda decorated: _register(group, name, decorated)
    with _lock:
        _registered[group, name] = found
    return found


def find(group: str, name: str) -> Callable[[Any], object]:
    """What is registered under a name.

    Args:
        group: `PROCESSORS` or `LAUNCHERS`.
        name: As the rule has it.

    Raises:
        UnknownNameError: Nothing is; the message says what there is.
    """
    with _lock:
        found = _registered.get((group, name))
        if found is None:
            installed = {each.name: each for each in _installed(group)}
            if name not in installed:
                own = {known for of, known in _registered if of == group}
                there = ", ".join(sorted(own | installed.keys())) or "none is"
                raise UnknownNameError(
                    f"{name!r} is not registered in this monitor's {group}: registered: {there}"
                )
            found = _registered[group, name] = installed[name].load()
    return found


def _installed(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))
