"""What one setting is: where it comes from and what it means. Holds data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fiveobs._defaults import Reader
from fiveobs._parsers import Parser

__all__ = ["TRACKS", "Setting"]

#: The groups in which settings are shown, in this order.
TRACKS: Final = ("general", "events", "logs", "traces", "metrics", "errors", "redaction")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting: where it comes from and what it means."""

    #: The name of the `Config` field and of the argument of ``configure()``.
    attr: str
    #: The variables that set it; the first that is set wins. None: only ``configure()`` sets it.
    env: tuple[str, ...]
    #: Reads text or a Python value.
    parse: Parser
    #: The value when nothing sets it; a callable works it out.
    default: Any
    #: One sentence, for ``fiveobs config`` and the reference page.
    doc: str
    #: The group it is shown in: one of `TRACKS`.
    track: str = "general"
    #: ``True`` where the value is masked wherever it is shown.
    secret: bool = False
    #: The default in words, where it is worked out.
    default_text: str = ""
    #: How to read the variables that do not hold the value itself.
    readers: Mapping[str, Reader] = field(default_factory=dict)
