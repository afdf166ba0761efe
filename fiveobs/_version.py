"""The version of fiveobs: its only source, read by the build and by ``fiveobs --version``."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
