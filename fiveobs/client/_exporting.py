"""What an export asks for, and what it learns of the bytes that come; does no I/O itself."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict
from urllib.parse import quote

from fiveobs.client._call import Call
from fiveobs.exceptions import BadInputError

__all__ = ["LONGEST_WORK_S", "ExportOptions", "Exporting"]

#: An export that is silent for longer has gone. Results of analyses take seconds for each kind of
#: job, and there may be many kinds of which there is nothing to say.
LONGEST_WORK_S = 600.0


class ExportOptions(TypedDict, total=False):
    """Which rows of a table an export has, and how they are written; left out means any."""

    #: ``csv`` (the default), ``jsonl`` or ``parquet``.
    format: str
    #: Only from then on; aware. Which time that is depends on the table.
    from_time: datetime | None
    #: Only before then; aware.
    to_time: datetime | None
    #: Only of jobs of this name.
    job_name: str | None
    #: And only of this service.
    service: str | None
    #: Only of jobs in this status: ``Running``, ``Completed``, ``Failed`` …
    status: str | None
    #: Only of this job.
    job_id: str | None
    #: CSV: ``escaped`` (the default) puts a ``'`` before what a spreadsheet would take for a
    #: formula, ``raw`` leaves it as it is.
    formulas: str | None


_NAMES = {
    "format": "format",
    "from_time": "fromTime",
    "to_time": "toTime",
    "job_name": "jobName",
    "service": "service",
    "status": "status",
    "job_id": "jobId",
    "formulas": "formulas",
}


class Exporting:
    """One export: what is sent, and how much has come.

    Args:
        table: Which.
        options: What is wanted of it.

    Raises:
        BadInputError: There is no such option, or the table has no name.
    """

    def __init__(self, table: str, options: ExportOptions) -> None:
        if unknown := options.keys() - _NAMES.keys():
            raise BadInputError(f"an export has no option {min(unknown)!r}")
        if not table.strip("."):
            raise BadInputError(f"{table!r} is no table; use one such as 'jobs'")
        self._format = options.get("format", "csv")
        query = {_NAMES[name]: value for name, value in options.items()}
        self.call = Call(path=f"export/{quote(table, safe='')}", answer=str, query=query)
        #: Bytes so far.
        self.size_bytes = 0
        self._lines = 0
        self._is_quoted = False

    @property
    def rows(self) -> int | None:
        """How many rows have come so far; ``None`` of Parquet, which tells it at its end."""
        if self._format == "parquet":
            return None
        return max(self._lines - 1, 0) if self._format == "csv" else self._lines

    def take(self, chunk: bytes) -> None:
        """Count what has come."""
        self.size_bytes += len(chunk)
        if self._format == "jsonl":
            self._lines += chunk.count(b"\n")
        elif self._format == "csv":
            for part in chunk.split(b'"'):
                # Every quote begins or ends a quoted text; two of them end one and begin another.
                self._lines += 0 if self._is_quoted else part.count(b"\n")
                self._is_quoted = not self._is_quoted
            self._is_quoted = not self._is_quoted
