"""``fiveobs export``: a table of the monitor as a file."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from fiveobs.cli._asking import add_place, asking
from fiveobs.cli._output import add_choice, add_output, format_of, moment_of, written
from fiveobs.cli.jobs import status_of

if TYPE_CHECKING:
    from fiveobs.client import Export

__all__ = ["add_parser", "run"]

_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = subparsers.add_parser(
        "export",
        help="write a table of the monitor to a file",
        description="Write a table of the monitor to a file, as CSV, JSON Lines or Parquet, the"
        " oldest rows first, however many there are. How many they were goes to standard error.",
    )
    parser.add_argument(
        "table",
        metavar="TABLE",
        help="jobs, attempts, stages, events, errors, measures, workers, samples, bottlenecks …"
        " (a name that is none is answered with all of them)",
    )
    add_output(parser, ("csv", "jsonl", "parquet"))
    add_choice(parser)
    parser.add_argument("--status", metavar="S", help="only of jobs in this status: failed, …")
    parser.add_argument("--job", metavar="ID", help="only of this job; a whole id")
    parser.add_argument(
        "--raw-formulas",
        action="store_true",
        help="CSV: leave texts as they are that a spreadsheet would take for a formula",
    )
    add_place(parser)


def run(args: argparse.Namespace) -> int:
    """Write the file."""
    file_format = format_of(args, _FORMATS)
    with asking(args) as client:
        export = client.export(
            args.table,
            format=file_format,
            from_time=moment_of(args, "since"),
            to_time=moment_of(args, "until"),
            job_name=args.workflow,
            service=args.service,
            status=status_of(args.status),
            job_id=args.job,
            formulas="raw" if args.raw_formulas else None,
        )
        with written(args, is_binary=file_format == "parquet") as file, export:
            for part in export:
                file.write(part)
    print(_told(export), file=sys.stderr)
    return 0


def _told(export: Export) -> str:
    size = f"{export.size_bytes:,} bytes"
    return size if export.rows is None else f"{export.rows:,} rows, {size}"
