"""``fiveobs report``: how the jobs of a period went, as a page or as JSON."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any

from fiveobs import _parsers
from fiveobs._parsers import UnusableError
from fiveobs.cli._asking import add_place, asking
from fiveobs.cli._output import add_choice, add_output, format_of, moment_of, written
from fiveobs.exceptions import BadInputError, ConfigError

__all__ = ["add_parser", "run"]

_FORMATS = {".html": "html", ".htm": "html", ".json": "json"}
_DEFAULT_PERIOD = "7d"


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = subparsers.add_parser(
        "report",
        help="write how the jobs of a period went",
        description="Write how the jobs of a period went, beside the period before it: success"
        " rates, durations, slowest steps, failures and trends, as one HTML file that needs"
        " nothing else, or as JSON with the same numbers.",
    )
    add_output(parser, ("html", "json"))
    parser.add_argument(
        "--period",
        metavar="TIME",
        help=f"how long the period is, instead of --since (default: {_DEFAULT_PERIOD})",
    )
    add_choice(parser)
    add_place(parser, timeout="60s")


def run(args: argparse.Namespace) -> int:
    """Write the report."""
    report_format = format_of(args, _FORMATS)
    page_of = _page_maker() if report_format == "html" else None
    from_time, to_time = _period(args)
    with asking(args) as client:
        report = client.report(
            from_time=from_time, to_time=to_time, job_name=args.workflow, service=args.service
        )
    if page_of is None:
        from fiveobs.cli._screen import as_json

        text = as_json(report.raw) + "\n"
    else:
        text = page_of(report)
    with written(args) as file:
        file.write(text.encode())
    return 0


def _page_maker() -> Any:
    """What makes the page.

    Raises:
        ConfigError: The extra is not installed.
    """
    try:
        from fiveobs.cli._page import page_of
    except ModuleNotFoundError as exc:
        name = (exc.name or "").partition(".")[0]
        if name in ("", "fiveobs"):
            raise
        raise ConfigError(
            f"'fiveobs report' needs {name}: pip install 'fiveobs[report]'; with --format json it"
            " does not"
        ) from exc
    return page_of


def _period(args: argparse.Namespace) -> tuple[datetime, datetime]:
    """From when on, and before when."""
    if args.period is not None and args.since is not None:
        raise BadInputError(f"--period {args.period!r} and --since: one of them is enough")
    to_time = moment_of(args, "until") or datetime.now(UTC)
    from_time = moment_of(args, "since")
    if from_time is None:
        from_time = to_time - timedelta(seconds=_length_s(args.period or _DEFAULT_PERIOD))
    return from_time, to_time


def _length_s(text: str) -> float:
    try:
        return float(_parsers.duration(1.0)(text))
    except UnusableError as exc:
        raise BadInputError(f"--period {text!r} is no time; use {exc.valid}") from None
