"""What the analytics work out, as tables of an export.

A result is a `Table` whose walk is a `Worked`: its function gets the store and what is wanted (the
project, the kinds of job, the period) and gives rows. A new one is one entry here.
"""

from __future__ import annotations

from fiveobs.monitor.exporting.table import Table

__all__ = ["RESULTS"]

#: In the order of the documentation.
RESULTS: tuple[Table, ...] = ()
