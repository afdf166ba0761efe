"""Past runs in columns, made from a few figures."""

from __future__ import annotations

from collections.abc import Sequence

from fiveobs.monitor.analytics.columns import Origin, PastRunRow, Runs

__all__ = ["START_S", "runs_of"]

#: When the made-up runs begin, in seconds since 1970.
START_S = 1_767_225_600
_US = 1_000_000


def runs_of(
    durations_s: Sequence[float],
    *,
    apart_s: float | None = None,
    status: Sequence[str] = (),
    waits_s: Sequence[float | None] = (),
    sizes_bytes: Sequence[int | None] = (),
    releases: Sequence[str] = (),
) -> Runs:
    """Runs of one kind, in order.

    Args:
        durations_s: How long each took.
        apart_s: How long after one the next begins; ``None`` a second after its end.
        status: How each ended; all were completed by default.
        waits_s: How long each had waited.
        sizes_bytes: Of the input of each.
        releases: Of each.
    """
    at_s, rows = float(START_S), []
    known = sorted(set(releases))
    for place, took_s in enumerate(durations_s):
        row = PastRunRow(
            job_key=place,
            job_id=f"run-{place}",
            attempt=1,
            status=status[place] if status else "completed",
            started_at_us=round(at_s * _US),
            ended_at_us=round((at_s + took_s) * _US),
            duration_s=took_s,
            queue_wait_s=waits_s[place] if waits_s else None,
            cpu_s=took_s / 2,
            input_size_bytes=sizes_bytes[place] if sizes_bytes else None,
            worker_key=known.index(releases[place]) if releases else None,
            error_type=None,
            error_message=None,
        )
        rows.append(row)
        at_s += took_s + 1 if apart_s is None else apart_s
    origins = {key: Origin("w", "m", name) for key, name in enumerate(known)}
    return Runs.of(rows, origins)
