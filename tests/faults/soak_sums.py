"""What the sums of a soak must be: nothing lost, dropped, invented, or made good by a repeat."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from fiveobs.journal.records import WANTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from fiveobs.cli._accounts import TrackAccount

__all__ = ["compare_series", "complaints_about_sums", "count_series", "series_of"]

_is_measured = WANTS["metrics"]


def series_of(line: bytes) -> str | None:
    """The series of the metrics that a journal's line counts in; the soak's have one each.

    Each life of a worker is a service of its own, so each has series of its own, whoever sums them.
    """
    if not _is_measured(line):
        return None
    record = json.loads(line)
    data, kind = record["data"], record["event_type"]
    if kind == "metric":
        return f"{data['name']}/{_labels(data['labels'])}"
    if kind.startswith("stage."):
        return f"job.stage.duration/{_labels({**_service(record), 'stage': data['stage']})}"
    status = "success" if data["status"] == "completed" else data["status"]
    labels = {**_service(record), "name": record["job_name"], "status": status}
    return f"jobs.processed/{_labels(labels)}"


def _service(record: Mapping[str, Any]) -> dict[str, str]:
    return {"service": record["service"]}


def _labels(labels: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def count_series(folder: Path) -> Counter[str]:
    """How often each series is to be counted by what a folder's journals hold."""
    found: Counter[str] = Counter()
    for path in folder.glob("*.log"):
        with path.open("rb") as file:
            found.update(
                series for line in file if line.endswith(b"\n") and (series := series_of(line))
            )
    return found


def compare_series(
    accepted: Mapping[str, float], received: Mapping[str, float], *, may_repeat: bool
) -> tuple[int, int, list[str]]:
    """Hold what the receivers were told of each series to what the journals have.

    Each is compared by itself: one that was counted twice does not make good what another lacks.

    Args:
        accepted: By series, what the journals hold.
        received: By series, the newest sums, of all processes together.
        may_repeat: A process was killed: what it had sent and not yet marked was summed again.

    Returns:
        What arrived, what was counted again, and what is wrong.
    """
    arrived = repeats = 0
    wrong = []
    for series in sorted({*accepted, *received}):
        wanted, had = round(accepted.get(series, 0)), round(received.get(series, 0))
        arrived += min(wanted, had)
        repeats += max(0, had - wanted)
        if had < wanted:
            wrong.append(f"metrics: {series} lacks {wanted - had} of {wanted}")
        elif had > wanted and not (may_repeat and wanted):
            wrong.append(f"metrics: {series} is {had}, and {wanted} were accepted")
    return arrived, repeats, wrong


def complaints_about_sums(track: str, sums: TrackAccount, received: int) -> Iterable[str]:
    """What is wrong with one track's sums at the end: all could be delivered, and the disk is well.

    Args:
        track: Which.
        sums: What the journals say.
        received: What the receivers had, repeats taken off.
    """
    if received < sums.delivered:
        yield f"{track}: {sums.delivered - received} counted as delivered did not arrive"
    if received > sums.delivered + sums.pending:
        yield f"{track}: {received} arrived, and {sums.delivered} are counted as delivered"
    if received > sums.accepted:
        yield f"{track}: {received - sums.accepted} arrived that nobody accepted"
    if received + sums.pending < sums.accepted:
        yield f"{track}: {sums.accepted - received - sums.pending} did not arrive"
    if sums.dropped:
        yield f"{track}: {sums.dropped} were dropped"
    if sums.pending:
        yield f"{track}: {sums.pending} could not be delivered in time"
    if not sums.adds_up:
        yield f"{track}: the sums do not add up, of {sums.wrong_stems or 'all'}"
