"""Workers at full speed while receivers fail and come back: nothing may be lost.

``python -m tests.faults.soak --seconds 60 --seed 1 --workers 2`` runs workers against receivers,
each in a process of its own. By a schedule that the seed decides, receivers are killed and started
again, or answer nothing, too late, errors, garbage or half of the time; workers are killed and
replaced. At the end everything is up, one more process delivers what is pending, and the sums are
compared: what workers noted outside of fiveobs about each job that ended, what the journals say
of themselves, and what the receivers have had. Exit code 1 if anything is missing, was dropped or
invented, is counted otherwise than it arrived, or would be refused by Sentry.

A worker runs its jobs in bursts at full speed, ``--jobs-per-s`` on average, so that what an outage
leaves behind can be delivered in the half minute that the end may take.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiveobs.cli._accounts import TrackAccount, account, add_up
from tests.faults.soak_ledger import Ledger, Seen
from tests.faults.soak_schedule import RECEIVERS, Fault, schedule
from tests.faults.soak_sums import compare_series, complaints_about_sums, count_series
from tests.support.ci import in_ci
from tests.support.normalizer import AVAILABLE
from tests.support.ports import free_port
from tests.support.process import ReceiverProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parents[2]
#: How long workers may take to end, and the last process to deliver what they left.
END_TIMEOUT_S, LAST_TIMEOUT_S = 7.0, 20.0
#: What ``throttle`` asks for, ``slow`` takes (more than OTLP's senders wait) and ``error`` answers:
#: "unavailable", since by OTLP's rules gRPC's "internal" refuses a batch for good.
MODE_SETTINGS = {"retry_after_s": 1, "delay_s": 3.0, "error_status": 503}
#: How often finished journals are counted and removed.
CARE_S = 2.0
#: Records that a job of each kind leaves at the least, by the byte that the worker notes.
RECORDS = {"p": 2, "r": 5, "f": 2}
#: A row of the table: sums of the journals, and what the receivers had.
ROW = "{:8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6}"


class Workers:
    """The processes that run jobs."""

    def __init__(self, folder: Path, settings: dict[str, str], jobs_per_s: float) -> None:
        self._folder = folder
        self._environment = {**_clean_environment(), **settings, "PYTHONPATH": str(ROOT)}
        self._jobs_per_s = jobs_per_s
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ending: list[subprocess.Popen[bytes]] = []
        #: Where the jobs of each life are noted.
        self.truths: dict[str, Path] = {}
        self.deaths = 0
        self.kills = 0

    def start(self, name: str) -> None:
        """Begin a worker's life."""
        number = int(name.rpartition("-")[2])
        life = f"w{number}l{len(self.truths)}"
        self.truths[life] = self._folder / f"{life}.truth"
        # Every second worker speaks gRPC, so that both ways of OTLP are tried.
        protocol = "grpc" if number % 2 else "http/protobuf"
        endpoint = self._environment[f"SOAK_{protocol[:4].upper()}"]
        self._running[name] = self.program(
            *("run", life, self.truths[life], self._jobs_per_s),
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        )

    def replace(self, name: str, *, is_sudden: bool) -> None:
        """End a worker and begin another in its place."""
        self.deaths += 1
        process = self._running.pop(name)
        self.kills += is_sudden
        process.kill() if is_sudden else process.terminate()
        self._ending.append(process)
        self.start(name)

    def end(self) -> None:
        """Have all workers end, by force if need be."""
        self._ending += self._running.values()
        for process in self._running.values():
            process.terminate()
        self._running = {}
        until_s = time.monotonic() + END_TIMEOUT_S
        for process in self._ending:
            try:
                process.wait(max(0.0, until_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.kills += 1
                process.kill()
                process.wait()

    def check(self) -> None:
        """Workers must not end by themselves."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} has ended by itself with {process.returncode}")
        self._ending = [each for each in self._ending if each.poll() is None]

    def program(self, *args: object, **settings: str) -> subprocess.Popen[bytes]:
        """Start the worker program."""
        command = [sys.executable, "-m", "tests.faults.soak_worker", *map(str, args)]
        return subprocess.Popen(command, cwd=ROOT, env={**self._environment, **settings})


class Accounts:
    """What the journals say of themselves, also those that were removed meanwhile."""

    def __init__(self, home: Path) -> None:
        self._journal = home / "journal"
        self._finished = home / "finished"
        self.sums: dict[str, TrackAccount] = add_up([])
        #: What the metrics must have counted, by series.
        self.series: Counter[str] = Counter()
        self.stems = 0

    def take_finished(self) -> None:
        """Count and remove the journals that are delivered, so that the disk does not fill."""
        files = list(self._journal.glob("*"))
        # Looked at afterwards: a process that begins makes its lock before anything else.
        alive = {path.name.removesuffix(".lock") for path in self._journal.glob("*.lock")}
        self._finished.mkdir(exist_ok=True, parents=True)
        for path in files:
            if path.name.partition(".")[0] not in alive:
                path.rename(self._finished / path.name)
        self._take(self._finished)
        shutil.rmtree(self._finished)

    def take_rest(self) -> None:
        """Count what is left when no process runs any more."""
        self._take(self._journal)

    def _take(self, folder: Path) -> None:
        self.series += count_series(folder)
        found = account(folder)
        self.stems += len(found)
        for track, sums in add_up(found).items():
            self.sums[track].add(sums)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak; 1 if anything was lost."""
    options = _options(arguments)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="fiveobs-soak-") as folder:
        return Soak(Path(folder), seed, options).run()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description="Loses nothing while all fails.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="decides what fails when; none: a new one")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs-per-s", type=float, default=500.0, help="of one worker")
    return parser.parse_args(arguments)


class Soak:
    """One run."""

    def __init__(self, folder: Path, seed: int, options: argparse.Namespace) -> None:
        self._seed, self._options = seed, options
        self._home = folder / "home"
        ledgers = {name: folder / f"{name}.ledger" for name in RECEIVERS}
        self._ledger = Ledger(*ledgers.values())
        self._receivers = {name: _receiver(name, path) for name, path in ledgers.items()}
        self._accounts = Accounts(self._home)
        self._folder = folder
        self._cared_at_s = 0.0

    def run(self) -> int:
        """Run, compare, print."""
        began_at_s = time.monotonic()
        _say(f"seed {self._seed}; to run this again: make soak ARGS='{self._arguments()}'")
        with ExitStack() as stack:
            for receiver in self._receivers.values():
                stack.enter_context(receiver)
            settings = self._settings()
            workers = Workers(self._folder, settings, self._options.jobs_per_s)
            stack.callback(workers.end)
            faults = schedule(self._seed, self._options.seconds, self._options.workers)
            for number in range(self._options.workers):
                workers.start(f"worker-{number}")
            self._let_fail(faults, workers)
            workers.end()
            self._deliver_rest(workers)
        self._ledger.read()
        self._accounts.take_rest()
        _say(f"seed {self._seed}: {_told(faults)}; {workers.deaths} workers ended and replaced")
        complaints = [
            *self._table(may_repeat=bool(workers.kills)),
            *_missing_jobs(workers.truths, self._ledger),
            *self._judged(),
        ]
        _say(f"{time.monotonic() - began_at_s:.0f} s; " + ("; ".join(complaints) or "no loss"))
        return int(bool(complaints))

    def _arguments(self) -> str:
        chosen = vars(self._options) | {"seed": self._seed}
        return " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in chosen.items())

    def _judged(self) -> list[str]:
        """What Sentry would say to the errors that it was sent."""
        if AVAILABLE:
            return [f"errors: Sentry would complain of {each}" for each in self._ledger.faults]
        missing = "sentry-relay is not here: no envelope was judged"
        _say(missing)
        return [missing] if in_ci() else []

    def _settings(self) -> dict[str, str]:
        otlp = self._receivers["otlp"].addresses["otlp"]
        return {
            "FIVEOBS_HOME": str(self._home),
            "FIVEOBS_HEARTBEAT_INTERVAL": "1s",
            "FIVEOBS_FLUSH_INTERVAL": "0.2s",
            "FIVEOBS_JOURNAL_MAX_BYTES": "8GiB",
            "FIVEOBS_JOURNAL_SEGMENT_BYTES": "1MiB",
            "FLUENT_BIT_HOST": "127.0.0.1",
            "FLUENT_BIT_PORT": str(self._receivers["forward"].addresses["forward"]["port"]),
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp["endpoint"],
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2000",
            "METRICS_COLLECTION_INTERVAL": "2s",
            "SENTRY_DSN": self._receivers["sentry"].addresses["sentry"]["dsn"],
            "MACHINE_ID": "soak",
            "SOAK_HTTP": otlp["endpoint"],
            "SOAK_GRPC": otlp["grpc_endpoint"],
        }

    def _let_fail(self, faults: list[Fault], workers: Workers) -> None:
        """Do to everybody what the schedule says."""
        began_at_s = time.monotonic()
        for fault in [*faults, None]:
            at_s = fault.at_s if fault is not None else self._options.seconds
            self._wait_until(began_at_s + at_s, workers)
            if fault is not None:
                self._do(fault, workers)

    def _wait_until(self, at_s: float, workers: Workers) -> None:
        while (left_s := at_s - time.monotonic()) > 0:
            workers.check()
            if time.monotonic() - self._cared_at_s > CARE_S:
                self._accounts.take_finished()
                self._ledger.read()
                self._cared_at_s = time.monotonic()
            time.sleep(min(max(0.0, left_s), 0.2))

    def _do(self, fault: Fault, workers: Workers) -> None:
        if fault.target.startswith("worker"):
            workers.replace(fault.target, is_sudden=fault.what == "kill")
            return
        receiver = self._receivers[fault.target]
        if fault.what == "kill":
            receiver.kill()
        elif fault.what == "start":
            receiver.__enter__()
        else:
            receiver.set_mode(fault.mode, **MODE_SETTINGS)

    def _deliver_rest(self, workers: Workers) -> None:
        last = workers.program("last", LAST_TIMEOUT_S)
        try:
            last.wait(LAST_TIMEOUT_S + 5)
        except subprocess.TimeoutExpired:
            last.kill()
            last.wait()

    def _table(self, *, may_repeat: bool) -> list[str]:
        """Print a line for each track; what is wrong with the sums."""
        head = ("track", "accepted", "delivered", "dropped", "pending", "received", "repeats")
        _say(ROW.format(*head, "lost"))
        arrived, again, complaints = compare_series(
            self._accounts.series, self._ledger.series(), may_repeat=may_repeat
        )
        for track, sums in self._accounts.sums.items():
            received, repeats = self._received(track, sums)
            if track == "metrics":
                received, repeats = arrived, again
            lost = sums.accepted - received - sums.pending
            _say(
                ROW.format(
                    track,
                    *(sums.accepted, sums.delivered, sums.dropped, sums.pending),
                    *(received, repeats, max(0, lost)),
                )
            )
            complaints += complaints_about_sums(track, sums, received)
        return complaints

    def _received(self, track: str, sums: TrackAccount) -> tuple[int, int]:
        """Different records that arrived, and how many came again."""
        ledger = self._ledger
        seen: tuple[Seen, ...] = {
            "logs": (ledger.records,),
            "traces": (ledger.job_spans, ledger.stage_spans),
            "errors": (ledger.errors,),
        }.get(track, ())
        if not seen:  # events are read where they are; metrics are compared by series
            return sums.delivered, 0
        return sum(each.distinct for each in seen), sum(each.repeats for each in seen)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _receiver(name: str, ledger: Path) -> ReceiverProcess:
    ports = [free_port() for _ in range(2)]
    return ReceiverProcess(program=("tests.faults.soak_receivers", name, ledger, *ports))


def _clean_environment() -> dict[str, str]:
    """Without settings of whoever runs this."""
    foreign = ("FIVEOBS_", "FLUENT_BIT_", "OTEL_", "SENTRY_", "CONNECTOR_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _told(faults: list[Fault]) -> str:
    kills = sum(fault.what == "kill" and fault.target in RECEIVERS for fault in faults)
    modes = [fault.mode for fault in faults if fault.what == "mode" and fault.mode != "ok"]
    told = ", ".join(f"{modes.count(mode)} {mode}" for mode in sorted(set(modes)))
    return f"{kills} kills of receivers; {told}"


def _missing_jobs(truths: dict[str, Path], ledger: Ledger) -> Iterable[str]:
    """What is missing of the jobs that workers noted, counted without asking fiveobs."""
    short: dict[str, Any] = dict.fromkeys(("logs", "traces", "errors"), 0)
    jobs = 0
    for life, path in truths.items():
        kinds = path.read_bytes().decode() if path.exists() else ""
        jobs += len(kinds)
        for number, kind in enumerate(kinds, start=1):
            short["logs"] += ledger.job_records.count(life, number) < RECORDS[kind]
            short["traces"] += not ledger.job_spans.count(life, number)
            short["traces"] += kind == "r" and not ledger.stage_spans.count(life, number)
            short["errors"] += kind == "f" and not ledger.errors.count(life, number)
    processed = ledger.total("jobs.processed")
    _say(f"{jobs} jobs noted by {len(truths)} workers; jobs.processed is {processed}")
    if processed < jobs:
        yield f"metrics: {jobs - processed} jobs were not counted"
    yield from (f"{track}: {count} jobs lack something" for track, count in short.items() if count)


if __name__ == "__main__":
    sys.exit(main())
