"""All five tracks at work: two worker processes index the source files of Python's own library.

One job per file, announced by this process and handed over with its carrier; some files are broken
on purpose (they belong to Python's test suite), so those jobs really fail. What you see while it
runs is read from the journal, as any monitor would. Where no destination is configured, small
receivers on this machine stand in for Fluent Bit, an OpenTelemetry collector and Sentry, so that at
the end both sides can be compared: what was accepted, and what arrived. Meanwhile a monitor
(``fiveobs serve``) takes in the journal and answers for every job.

``--kill`` ends a worker with SIGKILL in the middle of a job: another one takes its place, the job
is tried again, and what the dead worker had recorded is delivered all the same.

    make demo      or      python examples/demo.py [--files N] [--kill] [--plain]

Ends with 0 only if everything adds up.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from _demo.display import Display, display
from _demo.files import choose
from _demo.journal import Ended, Journal, State
from _demo.monitor import Monitor
from _demo.pool import Pool
from _demo.receivers import Received, Receivers
from _demo.summary import Sums, doctor, find, places, settled, sums, typical_failure

import fiveobs

#: Any of these means that there are real destinations to send to.
DESTINATIONS = (
    "FLUENT_BIT_HOST",
    "FLUENT_BIT_PORT",
    "FLUENT_BIT_PROTOCOL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "SENTRY_DSN",
)
#: Shorter than the defaults, so that a demo of some seconds shows what else takes a minute.
INTERVALS = {"METRICS_COLLECTION_INTERVAL": "1s", "FIVEOBS_HEARTBEAT_INTERVAL": "1s"}
#: Longest run, and how long what is pending may take at the end; in seconds.
TIMEOUT_S = 300.0
SETTLE_S = 30.0


class Answer(NamedTuple):
    """What the monitor says at the end."""

    #: Of all jobs, by status.
    counts: Counter[str]
    job_id: str
    #: The tracking API's answer about that job.
    progress: dict[str, Any]


@dataclass
class Run:
    """One run of the demo, and what has become of it."""

    home: Path
    state: State
    pool: Pool
    journal: Journal
    received: Received | None
    #: ``None`` where it is not installed.
    monitor: Monitor | None
    before: Sums
    lines: int = 0
    killed_at: float = 0.0

    def look(self) -> None:
        """Read what is new in the journal."""
        for record in self.journal.new_records():
            self.lines += 1
            self.state.take(record)


def main() -> int:
    """Run the demo."""
    args = _arguments()
    home = _home()
    os.environ["FIVEOBS_HOME"] = str(home)
    for name, value in INTERVALS.items():
        os.environ.setdefault(name, value)
    with contextlib.ExitStack() as stack:
        received = None
        if not any(os.environ.get(name) for name in DESTINATIONS):
            receivers = stack.enter_context(Receivers())
            os.environ.update(receivers.environment)
            received = receivers.received
        # Taken before anything else writes: the monitor keeps a journal, too.
        since = Journal(home), doctor()
        monitor = stack.enter_context(Monitor(home)) if Monitor.is_installed() else None
        run = _begin(args, home, received, monitor, since)
        with display(is_plain=args.plain) as screen:
            _work(run, screen, with_kill=args.kill)
        return _end(run)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="See all five tracks at work.")
    parser.add_argument("--files", type=int, default=600, help="how many files (default: 600)")
    parser.add_argument("--kill", action="store_true", help="kill a worker in the middle")
    parser.add_argument("--plain", action="store_true", help="no live display")
    args = parser.parse_args()
    if args.files < 1:
        parser.error("--files must be 1 or more")
    return args


def _home() -> Path:
    """``FIVEOBS_HOME``; else a new folder under ``.demo``, where the last three runs are kept."""
    if given := os.environ.get("FIVEOBS_HOME"):
        return Path(given).absolute()
    root = Path(__file__).resolve().parents[1] / ".demo"
    root.mkdir(exist_ok=True)
    for old in sorted(root.glob("run-*"))[:-2]:
        shutil.rmtree(old, ignore_errors=True)
    return root / f"run-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"


def _begin(
    args: argparse.Namespace,
    home: Path,
    received: Received | None,
    monitor: Monitor | None,
    since: tuple[Journal, Sums],
) -> Run:
    chosen = choose(args.files, home)
    session_id = f"demo-{uuid.uuid4().hex[:12]}"
    paths = {f"{session_id}-{at:04d}": path for at, path in enumerate(chosen.paths, 1)}
    where = "small receivers on this machine" if received else "the destinations you configured"
    print(f"{len(paths)} source files, one job each, in two worker processes; session {session_id}")
    print(f"{chosen.note}: such jobs will fail")
    print(f"events go to the journal in {home}, everything else to {where}")
    print(
        f"the monitor listens on {monitor.url}\n"
        if monitor
        else "(pip install 'fiveobs[monitor]' for the monitor)\n",
        flush=True,
    )
    state = State(session_id, {job_id: str(path) for job_id, path in paths.items()})
    fiveobs.configure(service="demo", worker_id="demo")
    return Run(home, state, Pool(session_id, paths), since[0], received, monitor, since[1])


def _work(run: Run, screen: Display, *, with_kill: bool) -> None:
    """Feed the workers until every job has ended."""
    deadline = time.monotonic() + TIMEOUT_S
    total = len(run.state.paths)
    while len(run.state.ended) < total and time.monotonic() < deadline:
        run.look()
        if with_kill and not run.killed_at and len(run.state.ended) >= total // 3:
            run.killed_at = time.time() if run.pool.kill(run.state) else 0.0
            run.look()
        for name in run.pool.bury(run.state):
            path = Path(run.pool.deaths[name]).name or "nothing"
            screen.say(f"{name} was killed while it worked on {path}; another one is started")
        run.pool.feed(run.state)
        screen.show(run.state)
        time.sleep(0.02)
    run.pool.end()


def _end(run: Run) -> int:
    """Let everything arrive, then compare; the exit code."""
    fiveobs.flush(SETTLE_S)
    settled(SETTLE_S)
    failed = run.state.failed
    job = typical_failure(run.state, run.received)
    answer = _ask_monitor(run, job or next(iter(run.state.ended.values()), None))
    if not settled(SETTLE_S):
        print(f"\nAfter {SETTLE_S:g} s not everything has been delivered:")
    fiveobs.shutdown(SETTLE_S)
    run.look()
    checks = [_show_work(run), _show_sums(run)]
    if run.pool.deaths:
        checks.append(_show_deaths(run))
    checks.append(_show_failure(run, job) if job else not failed)
    if answer is not None:
        checks.append(_show_monitor(run, answer))
    _show_next(run, job)
    return 0 if all(checks) else 1


def _ask_monitor(run: Run, job: Ended | None) -> Answer | None:
    """What the monitor knows of all jobs, and of one; it has ended then."""
    if run.monitor is None or job is None:
        return None
    counts = run.monitor.wait_for(run.state.ended)
    answer = Answer(counts, job.job_id, run.monitor.progress(job.job_id))
    run.monitor.close()  # it is a process of ours: the sums are compared when all have ended
    return answer


def _show_monitor(run: Run, answer: Answer) -> bool:
    """Whether the monitor says of the jobs what the journal says."""
    done, failed = len(run.state.ended) - len(run.state.failed), len(run.state.failed)
    counts = answer.counts
    listed = ", ".join(f"{count} {status.lower()}" for status, count in sorted(counts.items()))
    print(f"\nThe monitor took all of it in while they worked: {listed}. Of that job it says:")
    print(f"\nGET /api/{_project()}/execution/job/{answer.job_id}/progress")
    print(json.dumps(answer.progress, indent=2, ensure_ascii=False))
    return (counts["Completed"], counts.total()) == (done, done + failed)


def _project() -> str:
    """Whose jobs these are, as in a path of the monitor's."""
    names = ("FIVEOBS_TENANT_ID", "FIVEOBS_PROJECT_ID")
    return "/".join(os.environ.get(name) or "default" for name in names)


def _show_work(run: Run) -> bool:
    state = run.state
    done, failed = len(state.ended) - len(state.failed), len(state.failed)
    kinds = ", ".join(sorted({each.error for each in state.failed}))
    print(f"\n{done} files indexed, {state.lines_indexed:,} lines; {failed} failed: {kinds or '-'}")
    return len(state.ended) == len(state.paths)


def _show_sums(run: Run) -> bool:
    rows = sums(run.before, run.state, run.lines, run.received, is_killed=bool(run.killed_at))
    print("\nEvery record is accounted for: accepted = delivered + pending + dropped")
    print(f"  {'track':<8}{'accepted':>9}{'delivered':>11}{'pending':>9}{'dropped':>9}   arrived")
    for row in rows:
        figures = f"{row.accepted:>9,}{row.delivered:>11,}{row.pending:>9,}{row.dropped:>9,}"
        verdict = "" if row.is_right else "   <-- DOES NOT AGREE"
        print(f"  {row.track:<8}{figures}   {row.received}{verdict}")
    return all(row.is_right for row in rows)


def _show_deaths(run: Run) -> bool:
    """Whether everything that dead workers had recorded arrived."""
    is_complete = True
    for name in run.pool.deaths:
        events = run.state.event_ids.get(name, [])
        text = f"\n{name} recorded {len(events):,} events before it was killed"
        if run.received is not None:
            arrived = [run.received.log_times[each] for each in events if each in run.received.logs]
            after = sum(at > run.killed_at for at in arrived)
            text += f"; {len(arrived):,} have arrived, {after:,} of them after its death"
            is_complete = is_complete and len(arrived) == len(events)
        print(text)
    return is_complete


def _show_failure(run: Run, job: Ended) -> bool:
    found = places(job, run.received)
    print(f"\nOne job that failed, {job.job_id} ({Path(run.state.paths[job.job_id]).name}):")
    where = {
        "events": "the job.failed line in the journal",
        "logs": "the same line at the log receiver",
        "traces": "the job's span",
        "metrics": "an exemplar of job.duration",
        "errors": "contexts.trace of the error report",
    }
    for track, trace_id in found.items():
        print(f"  {track:<8} trace {trace_id or 'MISSING':<32}  {where[track]}")
    print(f"\n$ fiveobs find {job.job_id}\n{find(job.job_id)}", end="")
    return set(found.values()) == {job.trace_id}


def _show_next(run: Run, job: Ended | None) -> None:
    command = _command()
    print("\nLook next:")
    print(f"  export FIVEOBS_HOME={shlex.quote(str(run.home))}")
    if job is not None:
        print(f"  {command} find {job.trace_id}    the same job by its trace")
    print(f"  {command} find {run.state.session_id}    all jobs of this run")
    print(f"  {command} doctor --no-probe    the sums again")
    if run.monitor is not None:
        print(f"  {command} serve    the monitor again, with all of this in its store; beside it:")
        print(f"    {command} jobs    the jobs that it knows")
        if job is not None:
            print(f"    {command} job {job.job_id}    one with its stages, errors and timeline")
        print(f"    {command} watch    what runs, as it runs: begin another demo beside it")
    if not run.killed_at:
        print(
            f"  {_shown(sys.executable)} examples/demo.py --kill"
            "    a worker dies, and nothing is lost"
        )


def _command() -> str:
    """How ``fiveobs`` is called from here: it may be in an environment that is not active."""
    beside = Path(sys.executable).with_name("fiveobs")
    found = shutil.which("fiveobs")
    if found is not None and beside.exists() and beside.samefile(found):
        return "fiveobs"
    return _shown(str(beside)) if beside.exists() else f"{_shown(sys.executable)} -m fiveobs"


def _shown(path: str) -> str:
    """A path as a shell takes it, from where the demo was started if it is below."""
    here = Path.cwd()
    short = Path(path).relative_to(here) if Path(path).is_relative_to(here) else path
    return shlex.quote(str(short))


if __name__ == "__main__":
    sys.exit(main())
