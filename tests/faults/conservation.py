"""Adds up what programs did, what the journal says and what receivers hold, for each track.

Three witnesses that know nothing of one another must agree:

* the worker program, which prints one JSON line for each job that it ran (:class:`Did`),
* the library: its sums as ``fiveobs doctor`` shows them, and the lines in its journals,
* the receivers, in this process or in another (:class:`Held`).

A test collects the three and calls :func:`check`::

    did = Did.of(lines)                       # what the workers printed, of all of them
    held = Held.by(otlp, forward, sentry)     # or Held.written_in(folder), of a ReceiverProcess
    balances = check(home, held, did)         # everything arrived, nothing was dropped
    assert balances["logs"].repeats < 512

Repeats (by record id, span id, envelope id) are counted and returned, never an error: delivery is
at least once. Metrics have no ids: what counts there is the newest total of each series.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from fiveobs.cli._accounts import account, add_up
from tests.support.envelopes import parse_envelope
from tests.support.otlp import OtlpReceiver
from tests.support.sentry import SentryReceiver

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = ["SENT_TRACKS", "Balance", "Did", "Held", "balances", "check", "journal_keys", "lines_of"]

#: The tracks that leave the machine.
SENT_TRACKS = ("logs", "traces", "metrics", "errors")
#: Record types that are no events, so the logs track skips them.
_NOT_EVENTS = frozenset(("metric", "span", "envelope"))
#: The ends that a program can print, and the others.
_ENDS = {"job.completed": "completed", "job.failed": "failed"}
_ALL_ENDS = frozenset((*_ENDS, "job.stopped", "job.cancelled", "job.interrupted"))


@dataclass
class Did:
    """What worker programs say that they did.

    A program prints ``{"job": ID, "status": "completed"|"failed", "lines": N, "counted": N}`` after
    each job: its log lines, and what it added to the counter ``records``. Other lines are ignored.
    """

    #: Each job's status, by its id.
    jobs: dict[str, str] = field(default_factory=dict)
    #: Log lines of all jobs.
    lines: int = 0
    #: What was added to ``records`` in all.
    counted: float = 0

    @classmethod
    def of(cls, *outputs: Iterable[str | bytes | Mapping[str, Any]]) -> Self:
        """Read what programs printed; a line that was cut off by a kill is left out."""
        did = cls()
        for output in outputs:
            for line in output:
                did.take(line)
        return did

    def take(self, line: str | bytes | Mapping[str, Any]) -> None:
        """Read one more line."""
        if isinstance(line, str | bytes):
            try:
                line = json.loads(line)
            except ValueError:
                return
        if not isinstance(line, dict) or "job" not in line:
            return
        assert line["job"] not in self.jobs, f"the program ran {line['job']} twice"
        self.jobs[line["job"]] = line["status"]
        self.lines += line.get("lines", 0)
        self.counted += line.get("counted", 0)

    def ended(self, status: str) -> set[str]:
        """The ids of the jobs that ended so."""
        return {job for job, ended in self.jobs.items() if ended == status}


@dataclass
class Held:
    """What receivers hold, repeats included."""

    records: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    #: The id of each Sentry envelope, in order; see :func:`_envelope_key`.
    envelopes: list[str] = field(default_factory=list)

    @classmethod
    def by(cls, *receivers: Any) -> Self:
        """What receivers in this process hold (any with ``records``, ``spans``, ``envelopes``)."""
        held = cls()
        for receiver in receivers:
            if isinstance(receiver, OtlpReceiver):
                held.spans += receiver.spans
                held.metrics += receiver.metrics
            elif isinstance(receiver, SentryReceiver):
                held.envelopes += [
                    _envelope_key(each.headers, [(item.type, item.payload) for item in each.items])
                    for each in receiver.envelopes
                ]
            else:
                held.records += [record for _, _, record in receiver.records]
        return held

    @classmethod
    def written_in(cls, folder: Path) -> Self:
        """What receivers in other processes wrote down before they answered (``--ledger``)."""
        held = cls()
        for path in sorted(folder.glob("*.ledger")):
            for line in _whole_lines(path):
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # a kill has cut it off, so it was never acknowledged
                if entry["kind"] == "envelopes":
                    held.envelopes += [
                        _envelope_key(each["headers"], each["items"]) for each in entry["held"]
                    ]
                else:
                    getattr(held, entry["kind"]).extend(entry["held"])
        return held

    def keys(self) -> dict[str, Counter[str]]:
        """How often each record was received, by track; metrics have no such keys."""
        return {
            "logs": Counter(record["id"] for record in self.records),
            "traces": Counter(span["span_id"] for span in self.spans),
            "errors": Counter(self.envelopes),
        }

    def total(self, name: str) -> float:
        """A metric's newest value (or number of measurements) over all its series."""
        newest: dict[str, tuple[int, float]] = {}
        for metric in self.metrics:
            if metric["name"] != name:
                continue
            for point in metric["points"]:
                parts = (metric["resource"], point["attributes"], point["start_ns"])
                series = json.dumps(parts, sort_keys=True)
                value = point["value"] if "value" in point else point["count"]
                newest[series] = max(newest.get(series, (0, 0)), (point["time_ns"], value))
        return sum(value for _, value in newest.values())


@dataclass(frozen=True, kw_only=True)
class Balance:
    """One track's sums."""

    accepted: int
    delivered: int
    pending: int
    dropped: int
    #: What the receiver holds, each record once; for metrics, job ends that are in the totals.
    held: int = 0
    #: Records that the receiver was sent once more.
    repeats: int = 0


def balances(home: Path) -> dict[str, Balance]:
    """Each track's sums over all stems, as ``fiveobs doctor`` adds them up; they must agree."""
    found = {}
    for track, sums in add_up(account(home / "journal")).items():
        assert sums.adds_up, f"{track} does not add up: {sums}"
        found[track] = Balance(
            accepted=sums.accepted,
            delivered=sums.delivered,
            pending=sums.pending,
            dropped=sums.dropped,
        )
    return found


def lines_of(home: Path) -> Iterator[dict[str, Any]]:
    """The records of all journals; each whole line must be valid JSON."""
    for path in sorted((home / "journal").glob("*.log")):
        for line in _whole_lines(path):
            yield json.loads(line)


def journal_keys(home: Path) -> dict[str, Counter[str]]:
    """What is to be sent, by track, read from the journals without the library."""
    found: dict[str, Counter[str]] = {track: Counter() for track in ("logs", "traces", "errors")}
    for record in lines_of(home):
        if record["event_type"] not in _NOT_EVENTS:
            found["logs"][record["id"]] += 1
        if record.get("sampled"):
            found["traces"][record.get("span", {}).get("span_id") or record["span_id"]] += 1
        if record["event_type"] == "envelope":
            found["errors"][_journal_envelope(record["data"])] += 1
    return found


def check(
    home: Path,
    held: Held,
    did: Did,
    *,
    tracks: Iterable[str] = SENT_TRACKS,
    dropped: Mapping[str, int] | None = None,
    complete: bool = True,
    was_killed: int = False,
) -> dict[str, Balance]:
    """Assert that nothing was lost, invented or left uncounted; return each track's sums.

    Args:
        home: The workers' ``FIVEOBS_HOME``.
        held: What their receivers hold.
        did: What they say that they did.
        tracks: The tracks that had a destination.
        dropped: How many records each track must have dropped; none if it is not named.
        complete: That nothing is left to send; false allows pending records.
        was_killed: A worker was killed: it may have recorded more than it said, and metrics may
            count twice what was sent but not yet marked as sent. A number: so many processes were
            killed that had the same records to send, one after the other.
    """
    tracks = tuple(tracks)
    _check_accepted(home, did, at_least=bool(was_killed))
    _check_complete(home, tracks)
    sums, wanted, received = balances(home), journal_keys(home), held.keys()
    expected_drops = dropped or {}
    found = {"events": sums["events"]}
    for track in tracks:
        balance = sums[track]
        if track == "metrics":
            found[track] = _metrics_balance(balance, held, _totals(home), kills=int(was_killed))
        else:
            found[track] = _balance(track, balance, wanted[track], received[track])
        assert balance.dropped == expected_drops.get(track, 0), (track, found[track])
        if complete:
            assert balance.pending == 0, (track, found[track])
    return found


def _balance(track: str, sums: Balance, wanted: Counter[str], received: Counter[str]) -> Balance:
    """Hold one track's receiver to the journal and to the library's sums."""
    twice = [key for key, times in wanted.items() if times > 1]
    assert not twice, f"{track}: ids that the journal has twice: {twice[:5]}"
    invented = received.keys() - wanted.keys()
    assert not invented, f"{track}: received and in no journal: {sorted(invented)[:5]}"
    assert sums.accepted == len(wanted), f"{track}: {len(wanted)} lines in the journals, {sums}"
    balance = _with_held(sums, len(received), received.total() - len(received))
    # What is pending may have arrived already, if its answer has not.
    assert sums.delivered <= balance.held <= sums.delivered + sums.pending, (track, balance)
    return balance


def _metrics_balance(
    sums: Balance, held: Held, wanted: Mapping[str, float], *, kills: int
) -> Balance:
    """Metrics are sums: what the receiver's newest totals say must be what the journals say."""
    balance = _with_held(sums, int(held.total("jobs.processed")), 0)
    is_all_there = not sums.pending and not sums.dropped
    for name, value in wanted.items():
        total = held.total(name)
        least = value if is_all_there else 0
        assert least <= total <= value * (1 + kills), (name, value, total, balance)
    return balance


def _totals(home: Path) -> dict[str, float]:
    """What metrics must add up to, read from the journals without the library."""
    found = dict.fromkeys(("jobs.processed", "job.duration", "records", "errors"), 0.0)
    for record in lines_of(home):
        kind, data = record["event_type"], record["data"]
        if kind in _ALL_ENDS:
            found["jobs.processed"] += 1
            found["job.duration"] += 1
        found["errors"] += kind == "job.failed"
        if kind == "metric" and data["name"] == "records":
            found["records"] += data["value"]
    return found


def _check_complete(home: Path, tracks: Iterable[str]) -> None:
    """Each job that ended must have a span, and each that failed an envelope."""
    ended = [each for each in lines_of(home) if each["event_type"] in _ALL_ENDS]
    if "traces" in tracks:
        without = [each["job_id"] for each in ended if not each.get("sampled")]
        assert not without, f"jobs without a span: {without[:5]}"
    if "errors" in tracks:
        sent = journal_keys(home)["errors"]
        failed = [each for each in ended if each["event_type"] == "job.failed"]
        missing = [e["job_id"] for e in failed if e["data"].get("sentry_event_id") not in sent]
        assert not missing, f"failed jobs without an envelope: {missing[:5]}"


def _with_held(sums: Balance, held: int, repeats: int) -> Balance:
    return Balance(
        accepted=sums.accepted,
        delivered=sums.delivered,
        pending=sums.pending,
        dropped=sums.dropped,
        held=held,
        repeats=repeats,
    )


def _check_accepted(home: Path, did: Did, *, at_least: bool) -> None:
    """Hold what the journals have to what the programs say they did."""
    ended: dict[str, set[str]] = {status: set() for status in _ENDS.values()}
    lines, counted = 0, 0.0
    for record in lines_of(home):
        if record["event_type"] in _ENDS and record["job_id"] in did.jobs:
            ended[_ENDS[record["event_type"]]].add(record["job_id"])
        lines += record["event_type"] == "log"
        if record["event_type"] == "metric" and record["data"]["name"] == "records":
            counted += record["data"]["value"]
    for status, jobs in ended.items():
        missing = did.ended(status) ^ jobs
        assert not missing, f"{status} jobs that differ: {sorted(missing)[:5]}"
    found, said = (lines, counted), (did.lines, did.counted)
    assert found == said or (at_least and found >= said), f"{found} in the journal, {said} said"


def _journal_envelope(data: Mapping[str, str]) -> str:
    envelope = parse_envelope(data["envelope"].encode())
    return _envelope_key(envelope.headers, [(item.type, item.payload) for item in envelope.items])


def _envelope_key(headers: Mapping[str, Any], items: Iterable[Any]) -> str:
    """An envelope's id: its event's, or of what it holds instead (a check-in has two states)."""
    if "event_id" in headers:
        return str(headers["event_id"])
    return json.dumps([[kind, payload] for kind, payload in items], sort_keys=True)


def _whole_lines(path: Path) -> Iterator[bytes]:
    """A line that a kill has cut off is left out."""
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield line
