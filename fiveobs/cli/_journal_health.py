"""Whether the journal can be written, how large it is, and who writes it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiveobs.cli._accounts import ALIVE, DEAD, FINISHED, StemAccount
from fiveobs.cli._findings import PROBLEM, WARNING, Finding
from fiveobs.cli._journals import journal_folder

if TYPE_CHECKING:
    from fiveobs._config import Config

__all__ = ["examine", "is_any_alive"]


def examine(config: Config, accounts: list[StemAccount]) -> tuple[dict[str, Any], list[Finding]]:
    """The journal's figures, and what is wrong with them."""
    folder = journal_folder(config.home)
    figures = {
        "home": str(config.home),
        "home_source": config.sources["home"],
        "is_writable": _is_writable(folder),
        "free_bytes": _free_bytes(folder),
        "size_bytes": sum(each.size_bytes for each in accounts),
        "files": sum(each.files for each in accounts),
        "lines": sum(each.lines for each in accounts),
        "torn_lines": sum(each.torn for each in accounts),
        "removed_files": sum(each.removed_files for each in accounts),
        "processes": {
            state: sum(each.state == state for each in accounts)
            for state in (ALIVE, DEAD, FINISHED)
        },
        "dead_letters": _dead_letters(config.home),
    }
    return figures, list(_findings(config, figures))


def is_any_alive(accounts: Iterable[StemAccount]) -> bool:
    """Whether a process is running that ships."""
    return any(each.state == ALIVE for each in accounts)


def _findings(config: Config, figures: dict[str, Any]) -> Iterable[Finding]:
    home = figures["home"]
    if not figures["is_writable"]:
        steps = [
            "jobs run, and their records are kept in memory only: nothing survives a restart",
            "let the workers' user write there, or set FIVEOBS_HOME to another folder",
        ]
        yield Finding(PROBLEM, "journal", f"{home} cannot be written", steps)
    free = figures["free_bytes"]
    if free is not None and free < 2 * config.journal_segment_bytes:
        steps = ["make room, or set FIVEOBS_HOME to a folder on another disk"]
        yield Finding(PROBLEM, "journal", f"the disk of {home} is full: {free:,} bytes free", steps)
    elif free is not None and free + figures["size_bytes"] < config.journal_max_bytes:
        text = f"the journal may grow to {config.journal_max_bytes:,} bytes; the disk has {free:,}"
        steps = ["make room, or set FIVEOBS_JOURNAL_MAX_BYTES lower"]
        yield Finding(WARNING, "journal", text, steps)
    if torn := figures["torn_lines"]:
        text = f"{torn:,} lines are damaged and were passed over"
        steps = ["one at the end of a file is what a crash of the machine or a full disk leaves"]
        yield Finding(WARNING, "journal", text, steps)
    if letters := figures["dead_letters"]:
        text = f"{letters:,} events could not be handled by their subscriptions"
        steps = ["bus.dead_letters() shows them with the reason; bus.replay() tries them again"]
        yield Finding(WARNING, "journal", text, steps)


def _is_writable(folder: Path) -> bool:
    """Whether a file can be made there; a folder that is not there yet is not made for that."""
    if not folder.is_dir():
        there = next((each for each in folder.parents if each.exists()), folder)
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"probe")
    except OSError:
        return False
    return True


def _free_bytes(folder: Path) -> int | None:
    with contextlib.suppress(OSError):
        there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
        return shutil.disk_usage(there).free
    return None


def _dead_letters(home: Path) -> int:
    from fiveobs.journal.dead_letters import DeadLetterJournal

    with contextlib.suppress(OSError):
        return len(DeadLetterJournal(lambda: home).read())
    return 0
