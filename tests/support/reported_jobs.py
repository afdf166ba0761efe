"""Journals of two weeks of jobs, for reports: of one kind the second week went worse.

What the jobs are called, and what they say, is hostile. Times are those of `journals.line`: the
first week begins with them.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.journals import START_NS, line, write_segment

__all__ = ["BEGIN", "END", "HOSTILE", "MIDDLE", "SERVICE", "STEADY", "write"]

DAY_S = 86_400.0
#: The first week, and the second.
BEGIN = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=START_NS // 1000)
MIDDLE, END = BEGIN + timedelta(days=7), BEGIN + timedelta(days=14)
#: A kind of job that wants to do harm, and one that does not; and the service of both.
HOSTILE = "<script src=https://evil.invalid/x.js></script>$\\frac{"
STEADY = "resize-image"
SERVICE = "a \"b\" & 'c'</style>"


class _Journal:
    def __init__(self, seed: int) -> None:
        self.lines = [line(1, "worker.started", after_s=0, data={"pid": 7})]
        self.chance = random.Random(seed)

    def say(self, at_s: float, event_type: str, job_id: str, **fields: Any) -> None:
        fields = {"service": SERVICE, "attempt": 1, "job_id": job_id, **fields}
        self.lines.append(line(len(self.lines) + 1, event_type, after_s=at_s, **fields))

    def run(self, job_id: str, name: str, at_s: float, error: dict[str, str] | None) -> None:
        slower = 1.6 if name == HOSTILE and at_s >= 7 * DAY_S else 1.0
        wait_s = self.chance.expovariate(0.5)
        started = {"queue": "q", "queue_wait_s": wait_s, "stages": ["Load", "<i>Scale</i>"]}
        self.say(at_s, "job.started", job_id, job_name=name, data=started)
        whole_s = 0.0
        for index, (step, mean_s) in enumerate((("Load", 4.0), ("<i>Scale</i>", 20.0)), 1):
            took_s = slower * mean_s * self.chance.lognormvariate(0, 0.3)
            data: dict[str, Any] = {"stage": step, "index": index}
            self.say(at_s + whole_s, "stage.started", job_id, job_name=name, data=data)
            whole_s += took_s
            data |= {"duration_s": took_s, "cpu_s": took_s / 2, "memory_rss_bytes": 10**8}
            self.say(at_s + whole_s, "stage.completed", job_id, job_name=name, data=data)
        end: dict[str, Any] = {"duration_s": whole_s, "cpu_s": whole_s / 2}
        if error is not None:
            end |= {"error": error, "status": "failed"}
        event_type = "job.completed" if error is None else "job.failed"
        level = "info" if error is None else "error"
        self.say(at_s + whole_s, event_type, job_id, job_name=name, level=level, data=end)


def write(home: Path, runs: int = 60) -> None:
    """Write them.

    Args:
        home: The ``FIVEOBS_HOME``.
        runs: Of each kind in each week.
    """
    journal = _Journal(1)
    for number in range(2 * runs):
        at_s = 14 * DAY_S * (number + 0.5) / (2 * runs)
        is_second = at_s >= 7 * DAY_S
        for name in (HOSTILE, STEADY):
            share = (0.35 if is_second else 0.03) if name == HOSTILE else 0.05
            error = None
            if journal.chance.random() < share:
                error = {"type": "ValueError", "message": "no <img src=//evil.invalid onerror=x>"}
                if is_second and journal.chance.random() < 0.4:
                    error = {"type": "<b>New</b>Error", "message": "x" * 700}
            job_id = f"h-{number}<br>" if name == HOSTILE else f"{number}"
            journal.run(job_id, name, at_s, error)
    write_segment(home, "host-7-1", 1, *journal.lines)
