"""What the commands that ask a monitor have in common: their flags, the client, shortened ids."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fiveobs import _parsers
from fiveobs._parsers import UnusableError
from fiveobs.cli._records import MIN_PART
from fiveobs.exceptions import BadInputError, ConfigError, NotFoundError

if TYPE_CHECKING:
    from fiveobs.client import Client

__all__ = ["add_monitor", "add_place", "asking", "full_id"]

#: Among so many of the newest jobs a shortened id is looked for.
_MOST_JOBS = 1_000
#: So many are named where several fit.
_MOST_NAMED = 10
_RICH, _HTTPX = "rich", "httpx"


def add_monitor(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a command that shows what a monitor answers."""
    parser.add_argument("--json", action="store_true", help="print the monitor's JSON")
    add_place(parser)


def add_place(parser: argparse.ArgumentParser, timeout: str = "10s") -> None:
    """Add the flags that say which monitor is asked, and how long it may take."""
    parser.add_argument(
        "--url", metavar="URL", help="where the monitor is (default: FIVEOBS_MONITOR_URL)"
    )
    parser.add_argument("--tenant", metavar="ID", help="the tenant (default: default)")
    parser.add_argument("--project", metavar="ID", help="the project (default: default)")
    parser.add_argument(
        "--timeout", metavar="TIME", default=timeout, help="how long an answer may take"
    )


@contextlib.contextmanager
def asking(args: argparse.Namespace) -> Iterator[Client]:
    """A client as the flags and the environment say.

    Raises:
        ConfigError: Something cannot be used, or the extra is not installed.
    """
    try:
        import rich  # noqa: F401 - fails here, before anything is asked

        from fiveobs.client import Client
    except ModuleNotFoundError as exc:
        if exc.name not in (_RICH, _HTTPX):
            raise
        raise ConfigError(
            f"'fiveobs {args.command}' needs {exc.name}: pip install 'fiveobs[client]'"
        ) from exc
    with Client(
        args.url, tenant_id=args.tenant, project_id=args.project, timeout_s=_timeout_s(args.timeout)
    ) as client:
        yield client


def full_id(client: Client, text: str) -> str:
    """The id of the job that is meant: the text itself, or the one that begins or ends with it.

    Raises:
        NotFoundError: There is no such job.
        BadInputError: Several fit.
    """
    try:
        return client.progress(text).job_id
    except NotFoundError:
        found = _fitting(client, text)
        if not found:
            raise
    if len(found) > 1:
        named = ", ".join(found[:_MOST_NAMED])
        raise BadInputError(f"{text!r} fits {len(found)} jobs: use the id of one: {named}")
    return found[0]


def _fitting(client: Client, text: str) -> list[str]:
    if len(text) < MIN_PART:
        return []
    ids = [job.job_id for job in client.jobs(limit=_MOST_JOBS).jobs]
    return [each for each in ids if each.startswith(text) or each.endswith(text)]


def _timeout_s(text: str) -> float:
    try:
        return float(_parsers.duration(0.001)(text))
    except UnusableError as exc:
        raise BadInputError(f"--timeout {text!r} is no time; use {exc.valid}") from None
