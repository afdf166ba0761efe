"""``fiveobs serve``: runs the monitor."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from fiveobs.cli._monitor_store import needs_monitor

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the ``serve`` command to the command line."""
    parser = subparsers.add_parser(
        "serve",
        help="run the monitor, which answers for every job",
        description="Take in the journals of FIVEOBS_HOME as they grow, and answer for every job"
        " over HTTP. Prints a first token where there is none yet. Ends on SIGTERM and Ctrl-C.",
    )
    parser.add_argument(
        "--host", metavar="HOST", help="the address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", metavar="PORT", help="the port, 0 for any that is free (default: 8390)"
    )
    parser.add_argument(
        "--store-url",
        metavar="URL",
        help="sqlite:///PATH or postgresql://… (default: a file in FIVEOBS_HOME); a password is"
        " better kept in FIVEOBS_STORE_URL, because everybody can see what a process is started"
        " with",
    )
    parser.add_argument(
        "--home", metavar="PATH", help="FIVEOBS_HOME; the workers must use the same"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the monitor until it is told to stop.

    Args:
        args: What overrides the environment.

    Returns:
        0, or 1 if something did not end in time.
    """
    try:
        from fiveobs.monitor.serving import serve
        from fiveobs.monitor.settings import load_settings
    except ModuleNotFoundError as exc:
        raise needs_monitor("serve", exc) from exc
    settings = load_settings(
        os.environ, host=args.host, port=args.port, store_url=args.store_url, home=args.home
    )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    return serve(settings, say=_say)


def _say(text: str) -> None:
    # In one piece and at once: whoever reads it may be a program that waits for it.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
