"""``fiveobs config``: what is in force and where each value came from.

Reads the environment, writes to standard output, changes nothing. Secrets are masked.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from fiveobs._config import Config, describe, load_config
from fiveobs._setting import TRACKS
from fiveobs._settings import SETTINGS

__all__ = ["add_parser", "run"]

#: One line of the table: name, value, source, meaning.
_Row = tuple[str, str, str, str]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the ``config`` command to the command line."""
    parser = subparsers.add_parser(
        "config",
        help="print what is in force and where each value came from",
        description="Print every setting in force and where it came from, with secrets masked."
        " Ends with 1 if a variable cannot be used.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the configuration that the environment gives.

    Args:
        args: ``json`` selects the form.

    Returns:
        0, or 1 if something cannot be used.
    """
    config = load_config(os.environ, {}, strict=False)
    _write(_as_json(config) if args.json else _as_table(config))
    return 1 if config.problems else 0


def _groups(config: Config) -> list[tuple[str, list[_Row]]]:
    track_of = {setting.attr: setting.track for setting in SETTINGS}
    rows = describe(config)
    return [(track, [row for row in rows if track_of[row[0]] == track]) for track in TRACKS]


def _as_table(config: Config) -> str:
    groups = _groups(config)
    rows = [row for _track, rows in groups for row in rows]
    name_width = max(len(row[0]) for row in rows)
    value_width = min(48, max(len(row[1]) for row in rows))
    lines = []
    for track, members in groups:
        lines.append(track)
        for name, value, source, _doc in members:
            lines.append(f"  {name:<{name_width}}  {value or '-':<{value_width}}  {source}")
        lines.append("")
    if config.problems:
        lines += ["problems", *(f"  {problem}" for problem in config.problems), ""]
    return "\n".join(lines)


def _as_json(config: Config) -> str:
    settings = [
        {"name": name, "value": value or None, "source": source, "track": track, "doc": doc}
        for track, rows in _groups(config)
        for name, value, source, doc in rows
    ]
    return json.dumps({"settings": settings, "problems": config.problems}, indent=2) + "\n"


def _write(text: str) -> None:
    """Print, also where the terminal lacks a character."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
