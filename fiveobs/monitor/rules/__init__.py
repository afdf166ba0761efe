"""Rules: what shall be done on which events, and when something expected does not happen.

A processor or a launcher of yours is an entry point of your package, in the group
``fiveobs.processors`` or ``fiveobs.launchers``, or is registered before the monitor starts.
"""

from __future__ import annotations

from fiveobs.monitor.rules.registry import (
    Firing,
    Launch,
    register_launcher,
    register_processor,
)

__all__ = ["Firing", "Launch", "register_launcher", "register_processor"]
