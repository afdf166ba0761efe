"""What the receivers of a soak have had, by id; a byte for each, so that it may go on for hours."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["END", "Ledger", "Seen"]

#: How each line that is whole ends.
END = "."

#: More receipts of one id than this are counted as this many.
_MOST = 255


class Seen:
    """How often ids of the form ``owner-number`` were seen."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, bytearray] = defaultdict(bytearray)
        self.distinct = 0
        self.repeats = 0

    def add(self, owner_and_number: str) -> bool:
        """Count one; whether it is the first."""
        owner, _, number = owner_and_number.rpartition("-")
        counts, at = self._counts[owner], int(number)
        if at >= len(counts):
            counts.extend(bytes(at + 1 - len(counts) + 1024))
        is_first = not counts[at]
        counts[at] = min(counts[at] + 1, _MOST)
        self.distinct += is_first
        self.repeats += not is_first
        return is_first

    def count(self, owner: str, number: int) -> int:
        """How often one was seen."""
        counts = self._counts.get(owner, b"")
        return counts[number] if number < len(counts) else 0


class Ledger:
    """Reads the files that the receivers write, as they grow."""

    def __init__(self, *paths: Path) -> None:
        self._offsets = dict.fromkeys(paths, 0)
        self.records = Seen()
        #: Different records of each job.
        self.job_records = Seen()
        self.job_spans = Seen()
        self.stage_spans = Seen()
        self.errors = Seen()
        #: The largest value of each series: they are cumulative.
        self.sums: dict[str, float] = {}
        #: What Sentry's own normalizer says against envelopes.
        self.faults: list[str] = []

    def read(self) -> None:
        """Take in what was written since the last time."""
        for path in self._offsets:
            for line in self._new_lines(path):
                kind, *parts = line.split(" ")
                if parts and parts[-1] == END:  # else a receiver was killed in the middle of it
                    getattr(self, f"_{kind}")(*parts[:-1])

    def total(self, metric: str) -> int:
        """The sum over all processes of one metric."""
        return round(sum(value for key, value in self.sums.items() if f"/{metric}/" in key))

    def series(self) -> dict[str, float]:
        """The sum over all processes, by metric and labels."""
        totals: defaultdict[str, float] = defaultdict(float)
        for key, value in self.sums.items():
            _, _, series = key.split("/", 2)  # after who says so, and since when
            totals[series] += value
        return dict(totals)

    def _new_lines(self, path: Path) -> Iterator[str]:
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._offsets[path])
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is being written
                self._offsets[path] += len(line)
                yield line[:-1].decode()

    def _log(self, record_id: str, job_id: str) -> None:
        if self.records.add(record_id) and job_id != "-":
            self.job_records.add(job_id)

    def _job(self, job_id: str) -> None:
        self.job_spans.add(job_id)

    def _stage(self, job_id: str) -> None:
        self.stage_spans.add(job_id)

    def _error(self, job_id: str) -> None:
        self.errors.add(job_id)

    def _bad(self, *words: str) -> None:
        self.faults.append(" ".join(words))

    def _sum(self, series: str, value: str) -> None:
        self.sums[series] = max(self.sums.get(series, 0.0), float(value))
