"""Sentry's own normalizer, as the receivers of every other suite use it too."""

from __future__ import annotations

from tests.support.normalizer import AVAILABLE, complaints, complaints_about

__all__ = ["AVAILABLE", "complaints", "complaints_about"]
