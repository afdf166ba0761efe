"""Memory cgroups to run workers in that are to run out of memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["entering", "small_cgroup"]


@contextmanager
def small_cgroup(limit_bytes: int) -> Iterator[Path]:
    """A memory cgroup of ours below the present one, version 2 or 1; skip where none can be made.

    Args:
        limit_bytes: The most that its processes may have together, swap included.
    """
    groups = dict(
        line.split(":")[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()
    )
    second = "memory" not in groups
    root = Path("/sys/fs/cgroup") if second else Path("/sys/fs/cgroup/memory")
    folder = root / groups["" if second else "memory"].strip("/") / f"fiveobs-test-{os.getpid()}"
    limit = "memory.max" if second else "memory.limit_in_bytes"
    swap = "memory.swap.max" if second else "memory.memsw.limit_in_bytes"
    try:
        folder.mkdir()
    except OSError as exc:
        pytest.skip(f"needs a writable memory cgroup: {exc}")
    try:
        try:
            (folder / limit).write_text(str(limit_bytes))
        except OSError as exc:
            pytest.skip(f"needs a memory cgroup with a limit: {exc}")
        if (folder / swap).exists():
            (folder / swap).write_text("0" if second else str(limit_bytes))
        yield folder
    finally:
        folder.rmdir()


def entering(folder: Path) -> list[str]:
    """What goes before a command so that it runs in a cgroup from its beginning."""
    return ["sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh"]
