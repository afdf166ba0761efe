"""Chooses the demo's input: the source files of Python's own library."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import NamedTuple

__all__ = ["Input", "choose"]

#: Files of Python's test suite that no parser takes, and code that is still Python 2.
_BROKEN = (
    "bad_coding*.py",
    "badsyntax_3131.py",
    "badsyntax_pep3120.py",
    "different_encoding.py",
    "py2_test_grammar.py",
)
_BROKEN_SOURCE = "def unfinished(:\n    return 1\n"


class Input(NamedTuple):
    """The files, and where those that must fail come from."""

    paths: list[Path]
    note: str


def choose(count: int, home: Path) -> Input:
    """Take ``count`` files, spread over the library, some of which cannot be parsed."""
    library = Path(sysconfig.get_path("stdlib"))
    found = sorted(p for p in library.rglob("*.py") if "site-packages" not in p.parts)
    broken = [path for path in found if any(path.match(pattern) for pattern in _BROKEN)]
    broken = broken[: max(1, count // 4)]
    note = f"{len(broken)} or more of them belong to Python's tests and are no valid Python 3"
    if not broken:
        broken = [_write_broken(home)]
        note = f"this Python has no test suite, so {broken[0]} was written, which is broken"
    whole = [path for path in found if path not in broken]
    wanted = max(0, count - len(broken))
    whole = [whole[at * len(whole) // wanted] for at in range(min(wanted, len(whole)))]
    every = max(1, count // len(broken))
    for at, path in enumerate(broken):
        whole.insert(min(at * every, len(whole)), path)
    return Input(whole, note)


def _write_broken(home: Path) -> Path:
    path = home / "input" / "broken.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_BROKEN_SOURCE)
    return path
