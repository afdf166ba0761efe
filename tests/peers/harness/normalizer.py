"""Sentry's own normalizer, as the receivers of every suite use it; here it must be there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.peers.harness.program import absent
from tests.support import normalizer
from tests.support.envelopes import Envelope

__all__ = ["complaints", "complaints_about", "need_normalizer"]


def need_normalizer() -> None:
    """Call `absent` if there is none."""
    if not normalizer.AVAILABLE:
        absent("sentry-relay", "pip install --group peers (Linux only)")


def complaints(event: dict[str, Any]) -> list[str]:
    """What is wrong with an event or a transaction; nothing if all is well."""
    need_normalizer()
    return normalizer.complaints(event)


def complaints_about(envelopes: Iterable[Envelope]) -> list[str]:
    """What is wrong with the events in envelopes, with the event's id."""
    need_normalizer()
    return normalizer.complaints_about(envelopes)
