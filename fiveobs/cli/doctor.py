"""``fiveobs doctor``: is everything set, does every destination answer, is every record there?

Sends one probe to each configured destination (not with ``--no-probe``) and reads the journal. A
*problem* ends the command with 1; a *warning* is worth a look and does not.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from fiveobs import _parsers
from fiveobs._parsers import UnusableError
from fiveobs._version import __version__
from fiveobs.cli import _journal_health
from fiveobs.cli._accounts import StemAccount, TrackAccount, account, add_up
from fiveobs.cli._advice import how_to_configure, what_to_try
from fiveobs.cli._findings import PROBLEM, WARNING, Finding
from fiveobs.cli._journals import add_home, home_of, journal_folder
from fiveobs.cli._probes import PROBED, Probe, destination, probe_all
from fiveobs.cli._records import duration_text
from fiveobs.cli._terminal import Output, plain, table

if TYPE_CHECKING:
    from fiveobs._config import Config

__all__ = ["add_parser", "run"]

_DEFAULT_TIMEOUT_S = 5.0
#: Records that wait longer than this do not wait for the next delivery any more.
_MAX_PENDING_AGE_S = 300.0
#: The settings by which a track is configured.
_SET_BY = {
    "logs": ("fluent_bit_host", "fluent_bit_port", "fluent_bit_protocol"),
    "traces": ("traces_endpoint",),
    "metrics": ("metrics_endpoint",),
    "errors": ("sentry_dsn",),
}
_MARKS = {True: ("ok", "green"), False: ("failed", "red"), None: ("--", "dim")}


@dataclass(slots=True)
class _Report:
    """All that was found out."""

    config: Config
    accounts: list[StemAccount]
    totals: dict[str, TrackAccount]
    probes: Mapping[str, Probe]
    journal: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return not any(finding.severity == PROBLEM for finding in self.findings)


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = subparsers.add_parser(
        "doctor",
        help="check settings, destinations and journal",
        description="Check the settings, send a probe to every configured destination, look at"
        " the journal, and add up what became of every record. Run it with the environment of"
        " your workers. Ends with 1 if there is a problem.",
    )
    parser.add_argument("--no-probe", action="store_true", help="send nothing to any destination")
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=_timeout,
        default=_DEFAULT_TIMEOUT_S,
        help=f"how long a destination may take to answer (default: {_DEFAULT_TIMEOUT_S:g}s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_home(parser)


def _timeout(text: str) -> float:
    try:
        return float(_parsers.duration(0.01)(text))
    except UnusableError as exc:
        raise argparse.ArgumentTypeError(f"{text!r}: use {exc.valid}") from None


def run(args: argparse.Namespace) -> int:
    """Examine and print; 1 if there is a problem."""
    report = _examine(args)
    out = Output(args.color)
    if args.json:
        out.raw(orjson.dumps(_as_json(report), option=orjson.OPT_INDENT_2))
    else:
        _print(out, report)
    return 0 if report.is_well else 1


# --- examining -------------------------------------------------------------------------------


def _examine(args: argparse.Namespace) -> _Report:
    from fiveobs._config import load_config

    overrides = {} if args.home is None else {"home": str(home_of(args))}
    config = load_config(os.environ, overrides, strict=False)
    configured = [track for track in PROBED if getattr(config, f"{track}_configured")]
    probed = [] if args.no_probe or not config.enabled else configured
    probes = probe_all(config, probed, args.timeout)
    accounts = account(journal_folder(config.home))
    journal, findings = _journal_health.examine(config, accounts)
    report = _Report(config, accounts, add_up(accounts), probes, journal)
    report.findings += _settings_findings(config)
    report.findings += [each for track in probes for each in _probe_findings(report, track)]
    report.findings += findings
    for track, sums in report.totals.items():
        report.findings += _sums_findings(report, track, sums)
    return report


def _settings_findings(config: Config) -> list[Finding]:
    found = [
        Finding(PROBLEM, "settings", problem, ["'fiveobs config' shows what is in force"])
        for problem in config.problems
    ]
    if not config.enabled:
        steps = ["unset FIVEOBS_ENABLED to record jobs"]
        found.append(Finding(WARNING, "settings", "fiveobs is switched off", steps))
    return found


def _probe_findings(report: _Report, track: str) -> list[Finding]:
    probe = report.probes[track]
    if probe.is_taken:
        return []
    steps = what_to_try(report.config, track, probe.error)
    return [Finding(PROBLEM, track, probe.error, steps)]


def _sums_findings(report: _Report, track: str, sums: TrackAccount) -> list[Finding]:
    if track == "events":
        return _events_findings(sums)
    found = []
    if not sums.adds_up:
        text = (
            f"the sums do not add up: {sums.accepted:,} accepted, but {sums.delivered:,} delivered"
            f" + {sums.pending:,} pending + {sums.dropped:,} dropped"
        )
        stems = ", ".join(sums.wrong_stems[:3])
        found.append(Finding(PROBLEM, track, text, [f"look at the cursors of {stems}"]))
    if sums.dropped:
        text = f"{sums.dropped:,} records were given up"
        step = (
            "the workers' logger fiveobs.internal said why: refused by the destination, or the"
            " journal was full (FIVEOBS_JOURNAL_MAX_BYTES), or the disk was full for longer than"
            " memory lasts (FIVEOBS_JOURNAL_MEMORY_BYTES)"
        )
        found.append(Finding(WARNING, track, text, [step]))
    return found + _pending_findings(report, track, sums)


def _events_findings(sums: TrackAccount) -> list[Finding]:
    if not sums.dropped:
        return []
    text = f"{sums.dropped:,} lines are missing in the files"
    steps = [
        (
            "was the disk full for longer than memory lasts (FIVEOBS_JOURNAL_MEMORY_BYTES), or when"
            " a process ended? The workers' logger fiveobs.internal said so"
        ),
        "was a journal file edited or cut off by hand?",
    ]
    return [Finding(PROBLEM, "events", text, steps)]


def _pending_findings(report: _Report, track: str, sums: TrackAccount) -> list[Finding]:
    age_s = _age_s(sums.oldest_pending)
    if not sums.pending or age_s < _MAX_PENDING_AGE_S:
        return []
    text = f"{sums.pending:,} records have not been shipped, the oldest for {duration_text(age_s)}"
    if not getattr(report.config, f"{track}_configured"):
        step = (
            f"{how_to_configure(report.config, track)}; or run this with the workers' environment"
        )
    elif _journal_health.is_any_alive(report.accounts):
        step = "the destination refuses them or is slow: see its probe, and its own logs"
    else:
        step = "no process is running that would ship them: start a worker with this FIVEOBS_HOME"
    return [Finding(PROBLEM, track, text, [step])]


def _age_s(timestamp: str) -> float:
    try:
        return max(0.0, time.time() - datetime.fromisoformat(timestamp).timestamp())
    except ValueError:
        return 0.0


# --- printing --------------------------------------------------------------------------------


def _print(out: Output, report: _Report) -> None:
    out.line(out.paint(f"fiveobs {__version__}", "bold"))
    _print_journal(out, report)
    out.line("\n" + out.paint("Tracks", "bold"))
    out.line(f"  events   {out.paint('ok    ', 'green')}  {journal_folder(report.config.home)}")
    for track in PROBED:
        out.line(f"  {_track_line(out, report, track)}")
    _print_sums(out, report)
    _print_findings(out, report.findings)


def _print_journal(out: Output, report: _Report) -> None:
    journal = report.journal
    states = ", ".join(f"{count:,} {state}" for state, count in journal["processes"].items())
    out.line("\n" + out.paint("Journal", "bold"))
    rows: list[tuple[str, ...]] = [
        ("home", f"{journal['home']} ({journal['home_source']})"),
        ("writable", "yes" if journal["is_writable"] else "no"),
        ("size", f"{_bytes(journal['size_bytes'])} in {journal['files']:,} files"),
        ("disk", f"{_bytes(journal['free_bytes'])} free"),
        ("processes", states),
        ("records", f"{journal['lines']:,}, {journal['torn_lines']:,} damaged"),
    ]
    for line in table(rows):
        out.line(f"  {line}")


def _track_line(out: Output, report: _Report, track: str) -> str:
    config = report.config
    if not getattr(config, f"{track}_configured"):
        return f"{track:<8} {out.paint('--    ', 'dim')}  not configured: " + how_to_configure(
            config, track
        )
    probe = report.probes.get(track)
    word, style = _MARKS[probe.is_taken if probe else None]
    where = plain(f"{destination(config, track)} by {_source(config, track)}")
    if probe is None:
        said = "not probed"
    elif probe.is_taken:
        said = f"took the probe in {duration_text(probe.duration_s)}"
    else:
        said = "did not take the probe, see below"
    return f"{track:<8} {out.paint(f'{word:<6}', style)}  {where}: {said}"


def _source(config: Config, track: str) -> str:
    """The variable that configures a track."""
    sources = (config.sources[name] for name in _SET_BY[track])
    found = [source.removeprefix("environment ") for source in sources if source != "default"]
    return ", ".join(dict.fromkeys(found)) or "default"


def _print_sums(out: Output, report: _Report) -> None:
    rows: list[tuple[str, ...]] = [
        ("", "accepted", "delivered", "pending", "dropped", "oldest waits", "")
    ]
    for track, sums in report.totals.items():
        numbers = (sums.accepted, sums.delivered, sums.pending, sums.dropped)
        age = duration_text(_age_s(sums.oldest_pending)) if sums.oldest_pending else "-"
        verdict = "adds up" if sums.adds_up else "DOES NOT ADD UP"
        rows.append((track, *(f"{number:,}" for number in numbers), age, verdict))
    out.line("\n" + out.paint("Records", "bold"))
    for line in table(rows, right=frozenset(range(1, 6))):
        out.line(f"  {line}")


def _print_findings(out: Output, findings: list[Finding]) -> None:
    if not findings:
        out.line("\n" + out.paint("No problem was found.", "green"))
        return
    out.line("\n" + out.paint("Found", "bold"))
    for finding in sorted(findings, key=lambda each: each.severity != PROBLEM):
        style = "red" if finding.severity == PROBLEM else "yellow"
        out.line(f"  {out.paint(finding.severity, style)} {finding.area}: {plain(finding.text)}")
        for step in finding.steps:
            out.line(f"    - {plain(step)}")


def _bytes(count: float | None) -> str:
    if count is None:
        return "unknown"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _as_json(report: _Report) -> dict[str, Any]:
    return {
        "version": __version__,
        "ok": report.is_well,
        "journal": report.journal,
        "tracks": {"events": _track_json(report, "events")}
        | {track: _track_json(report, track) for track in PROBED},
        "findings": [
            {
                "severity": finding.severity,
                "area": finding.area,
                "text": finding.text,
                "next": finding.steps,
            }
            for finding in report.findings
        ],
    }


def _track_json(report: _Report, track: str) -> dict[str, Any]:
    sums, config = report.totals[track], report.config
    found: dict[str, Any] = {
        "accepted": sums.accepted,
        "delivered": sums.delivered,
        "pending": sums.pending,
        "dropped": sums.dropped,
        "adds_up": sums.adds_up,
        "oldest_pending": sums.oldest_pending or None,
        "configured": track == "events" or getattr(config, f"{track}_configured"),
    }
    if track == "events":
        return found
    if found["configured"]:
        found |= {"destination": destination(config, track), "set_by": _source(config, track)}
    else:
        found["to_configure"] = how_to_configure(config, track)
    if probe := report.probes.get(track):
        found["probe"] = {
            "taken": probe.is_taken,
            "error": probe.error or None,
            "duration_s": round(probe.duration_s, 6),
        }
    return found
