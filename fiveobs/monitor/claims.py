"""Whether what a monitor has taken upon itself to report is still to come.

Monitors that share a store settle in the audit trail who reports what (`store.auditing.claim`). The
report goes into the journal of the monitor that makes it, which the row names. So it is to come as
long as that journal is not wholly in the store, however long that takes; and it never comes if the
monitor has died before it wrote it. Reads the store and the journal folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiveobs import _runtime
from fiveobs.journal.locks import holder_pid
from fiveobs.journal.segments import LOCK_SUFFIX, FoundSegment, segment_files
from fiveobs.monitor.store import losing
from fiveobs.monitor.store.auditing import Claim
from fiveobs.monitor.store.losing import WorkerNow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Claims", "is_taken_in"]

_US = 1_000_000
#: A monitor that lives has made a report after so long, or never will.
_MADE_US = 60 * _US
#: The same where its journal is in another folder, so that nobody here knows how far it is read.
_UNSEEN_US = 300 * _US
_MIB = 1024 * 1024


class Claims:
    """Those of the monitors of one folder.

    Args:
        folder: The journal folder, ``<FIVEOBS_HOME>/journal``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def details(self) -> dict[str, Any]:
        """What a row of ours says: the journal that the report comes in."""
        pipeline = _runtime.get()
        return {} if pipeline is None else {"stem": pipeline.journal.stem}

    def is_void(self, connection: Connection, claim: Claim, now_us: int) -> bool:
        """Whether the report does not come any more.

        Args:
            connection: A transaction in which it has not come yet.
            claim: Who makes it.
            now_us: Microseconds since 1970.
        """
        age_us, stem = now_us - claim.at_us, claim.details.get("stem", "")
        try:
            is_here = bool(segment_files(self._folder, stem)) or self._is_held(stem)
            if not is_here:
                return age_us > _UNSEEN_US
            # First: whoever has ended writes no more.
            if self._is_held(stem) and age_us <= _MADE_US:
                return False
        except OSError:
            return False
        row = losing.worker_of(connection, stem)
        return row is not None and is_taken_in(self._folder, row)

    def _is_held(self, stem: str) -> bool:
        return holder_pid(self._folder / f"{stem}{LOCK_SUFFIX}") is not None


def is_taken_in(folder: Path, row: WorkerNow) -> bool:
    """Whether every whole line of a worker's journal is in the store."""
    try:
        return not any(
            _has_more(FoundSegment(path, number), row.offset_bytes * (number == row.segment))
            for _, number, path in segment_files(folder, row.stem)
            if number >= row.segment
        )
    except OSError:
        return False


def _has_more(segment: FoundSegment, offset: int) -> bool:
    while chunk := segment.read(offset, _MIB):
        if b"\n" in chunk:
            return True
        offset += len(chunk)
    return False
