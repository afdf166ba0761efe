"""Journals as workers leave them, written by hand: lines, segments, cursors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fiveobs._ids import rfc3339
from fiveobs.journal.cursors import CursorFile, CursorState, Position, cursor_path
from fiveobs.journal.records import record_type
from fiveobs.journal.segments import segment_files, segment_path
from fiveobs.journal.writer import Journal

__all__ = ["START_NS", "append", "line", "stems_of", "write_cursor", "write_segment"]

#: When the made-up records begin: 2026-01-02 03:04:05 UTC.
START_NS = 1_767_323_045_000_000_000


def stems_of(home: Path, pid: int) -> set[str]:
    """The journals of a process; other stems may have its id in their time."""
    stems = {stem for stem, _, _ in segment_files(home / "journal")}
    return {stem for stem in stems if stem.rsplit("-", 2)[1] == str(pid)}


def line(
    seq: int, event_type: str = "log", *, after_s: float | None = None, **fields: Any
) -> bytes:
    """One journal line.

    Args:
        seq: Its number; also its second, unless ``after_s`` says otherwise.
        event_type: Its type.
        after_s: Seconds from the beginning of the made-up time.
        fields: More fields; ``span`` marks it as one to export.
    """
    seconds = seq if after_s is None else after_s
    record: dict[str, Any] = {
        "id": f"00000000000000aa-{seq}",
        "seq": seq,
        "timestamp": rfc3339(START_NS + int(seconds * 1e9)),
        "event_type": event_type,
    }
    if "span" in fields:
        record["sampled"] = True
    record |= {"level": "info", "message": f"record {seq}", "service": "thumbnails"}
    record |= fields
    record.setdefault("data", {})
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def append(journal: Journal, text: bytes) -> None:
    """Give a real journal one line."""
    journal.append(text, record_type(text))


def write_segment(home: Path, stem: str, number: int, *lines: bytes) -> Path:
    """Write (or go on with) one segment; return its file."""
    path = segment_path(home / "journal", stem, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(lines))
    return path


def write_cursor(
    home: Path,
    stem: str,
    track: str,
    *,
    segment: int = 1,
    offset: int = 0,
    delivered: int = 0,
    dropped: int = 0,
) -> None:
    """Write a track's cursor over a stem."""
    file = CursorFile(cursor_path(home / "journal", stem, track))
    file.save(CursorState(Position(segment, offset), delivered, dropped))
    file.close()
