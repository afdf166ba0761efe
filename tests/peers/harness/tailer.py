"""Reads journals as ``collector-config/fluent-bit.yaml`` has Fluent Bit tail them.

Fluent Bit is in no package registry, and the Collector's file log receiver needs a module that the
Go proxy does not hand out, so this stands in for them: it takes paths, parser and filter from that
very file and does what its options say. Files that match are looked for at each look; a file is
known by its inode and its name (``db.compare_filename``); a new one is read from its head; half a
line waits for its end; how far each was read is remembered beside (``db``), so that another reader
goes on there.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.peers.harness.collector import CONFIG_FOLDER

__all__ = ["Tailed", "Tailer"]

_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::-([^}]*))?\}")


class Tailed(NamedTuple):
    """One record as it would go on."""

    tag: str
    at: datetime
    record: dict[str, Any]


class Tailer:
    """One reader, with what an earlier one with the same ``db`` has left.

    Args:
        home: The ``FIVEOBS_HOME`` whose journals are read.
        db: The file that remembers how far each file was read.
    """

    def __init__(self, home: Path, db: Path) -> None:
        config = yaml.safe_load((CONFIG_FOLDER / "fluent-bit.yaml").read_text(encoding="utf-8"))
        pipeline = config["pipeline"]
        (self._input,) = (each for each in pipeline["inputs"] if each["name"] == "tail")
        (self._parser,) = (
            each for each in config["parsers"] if each["name"] == self._input["parser"]
        )
        assert self._input["read_from_head"]
        assert self._input["db.compare_filename"]
        assert self._parser["format"] == "json"
        (leave_out,) = (each["exclude"] for each in pipeline["filters"] if each["name"] == "grep")
        self._field, _, pattern = leave_out.partition(" ")
        self._left_out = re.compile(pattern)
        self._pattern = _with_variables(self._input["path"], {"FIVEOBS_HOME": str(home)})
        self._db = db
        self._offsets: dict[str, int] = json.loads(db.read_text()) if db.exists() else {}

    def look(self) -> list[Tailed]:
        """What has come since the last look, file by file."""
        found = [
            tailed
            for path in sorted(glob.glob(self._pattern))  # noqa: PTH207 - as the file writes it
            for tailed in self._file(path)
        ]
        self._db.write_text(json.dumps(self._offsets))
        return found

    def _file(self, path: str) -> Iterator[Tailed]:
        # It may have been deleted since it was found.
        with contextlib.suppress(FileNotFoundError), Path(path).open("rb") as file:
            key = f"{os.fstat(file.fileno()).st_ino} {path}"
            file.seek(self._offsets.get(key, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offsets[key] = self._offsets.get(key, 0) + len(line)
                tailed = self._line(line)
                if tailed is not None:
                    yield tailed

    def _line(self, line: bytes) -> Tailed | None:
        record = json.loads(line)
        if self._left_out.search(str(record[self._field])):
            return None
        time_format = self._parser["time_format"].replace("%L", "%f")
        at = datetime.strptime(record[self._parser["time_key"]], time_format).replace(tzinfo=UTC)
        assert self._parser["time_keep"]
        return Tailed(self._input["tag"], at, record)


def _with_variables(text: str, variables: dict[str, str]) -> str:
    return _VARIABLE.sub(lambda found: variables.get(found[1], found[2] or ""), text)
