"""Sampling end to end: a tenth of normal traces, all failed and all slow ones, none in part.

What is kept of n normal traces is binomial. The bounds below are exact: a sampler that keeps a
tenth falls outside them once in a million runs.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.peers.harness.collector import Collector
from tests.peers.harness.program import until
from tests.peers.harness.worker import Worker, to_collector
from tests.support import workers
from tests.support.receivers import OtlpReceiver

pytestmark = pytest.mark.peer

NORMAL, FAILED, SLOW = 1_890, 100, 10
SHARE = 0.1
FALSE_ALARM = 1e-6
#: Spans of one job: itself and its two stages.
SPANS = Counter({"job": 1, "first": 1, "second": 1})
SLOW_S = 0.3
TIMEOUT_S = 90.0


def bounds(n: int, p: float, false_alarm: float) -> tuple[int, int]:
    """The least and the most that a binomial count is, but for this probability in all."""

    def chance(k: int) -> float:
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))

    def tail(counts: range) -> int:
        total = 0.0
        for k in counts:
            total += chance(k)
            if total > false_alarm / 2:
                return k
        raise AssertionError("unreachable: all chances add up to one")

    return tail(range(n + 1)), tail(range(n, -1, -1))


class Ran:
    """2,000 jobs: which traces the backend has, beside how the journal says each job went.

    Args:
        folder: For everything.
        ratio: ``FIVEOBS_TRACE_SAMPLE_RATIO`` of the worker.
        percentage: What the Collector keeps.
    """

    def __init__(self, folder: Path, ratio: float, percentage: int) -> None:
        with (
            OtlpReceiver(with_grpc=False) as backend,
            Collector(
                folder / "collector",
                backend=backend.endpoint,
                OTELCOL_TAIL_PERCENTAGE=str(percentage),
                OTELCOL_TAIL_SLOW_MS=str(round(SLOW_S * 1000) - 1),
            ) as collector,
        ):
            settings = to_collector(collector)
            settings["FIVEOBS_TRACE_SAMPLE_RATIO"] = str(ratio)
            with Worker(folder / "home", settings) as worker:
                worker.tell(f"sampled {NORMAL} {FAILED} {SLOW} {SLOW_S}")
                assert worker.tell(f"flush {TIMEOUT_S}"), worker.errors
            journal = workers.events(worker.home)
            self._wait(collector, backend, journal)
            self.traces: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for span in backend.spans:
                self.traces[span["trace_id"]].append(span)
        self.jobs = {
            each["trace_id"]: each
            for each in journal
            if each["event_type"] in ("job.completed", "job.failed")
        }

    @staticmethod
    def _wait(collector: Collector, backend: OtlpReceiver, journal: list[dict[str, Any]]) -> None:
        """Until every trace that left the worker is decided, and what is kept has arrived."""
        sent = {each["trace_id"] for each in journal if "span" in each}
        count = "otelcol_processor_tail_sampling_global_count_traces_sampled"
        until(
            lambda: collector.own_total(count) == len(sent),
            timeout_s=TIMEOUT_S,
            what="every trace decided",
        )
        kept = collector.own_total(count, sampled="true")
        backend.wait_for(lambda _: len(backend.spans) >= kept * SPANS.total(), timeout_s=TIMEOUT_S)

    def of_kind(self, kind: str) -> set[str]:
        """The traces of the jobs of this kind."""
        return {trace_id for trace_id, job in self.jobs.items() if job["request_id"] == kind}

    def longer_than(self, duration_s: float) -> set[str]:
        """The traces of the jobs that took longer; some normal ones may, on a busy machine."""
        return {
            trace_id
            for trace_id, job in self.jobs.items()
            if job["data"]["duration_s"] > duration_s
        }


@pytest.fixture(
    scope="module", params=[(0.1, 100), (1.0, 10)], ids=["by-the-worker", "by-the-collector"]
)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The jobs under each of the two ways to sample."""
    return Ran(tmp_path_factory.mktemp("sampled"), *request.param)


def test_every_failed_trace_is_kept(ran: Ran) -> None:
    """Of 100 failed jobs among 2,000, all 100 traces arrive."""
    failed = ran.of_kind("failed")
    assert len(failed) == FAILED
    assert failed <= set(ran.traces)


def test_every_slow_trace_is_kept(ran: Ran) -> None:
    """All jobs that ran much longer than the others have their traces at the backend."""
    slow = ran.of_kind("slow")
    assert len(slow) == SLOW
    assert slow <= set(ran.traces)


def test_a_tenth_of_the_normal_traces_is_kept(ran: Ran) -> None:
    """What arrives of the 1,890 normal ones is within the bounds of a one-in-ten draw."""
    normal = ran.of_kind("normal")
    assert len(normal) == NORMAL
    # A normal job that a busy machine held up may be kept as slow; it is in no draw.
    drawn = normal - ran.longer_than(SLOW_S / 3)
    least, most = bounds(len(drawn), SHARE, FALSE_ALARM)
    assert 0.05 * NORMAL < least < most < 0.15 * NORMAL
    assert least <= len(drawn & set(ran.traces)) <= most


def test_no_trace_is_kept_in_part(ran: Ran) -> None:
    """A trace that arrives has the job's span and both of its stages, once each."""
    for trace_id, spans in ran.traces.items():
        job = ran.jobs[trace_id]
        names = Counter(
            "job" if each["name"] == job["job_name"] else each["name"] for each in spans
        )
        assert names == SPANS
        assert {each["parent_span_id"] for each in spans} == {None, job["span_id"]}


@pytest.mark.parametrize("ratio", ["0", "1"], ids=["by-the-worker", "by-the-collector"])
def test_a_job_that_fails_long_after_its_first_stage_is_kept_whole(
    ratio: str, tmp_path: Path
) -> None:
    """The stage is sent long before the failure; both arrive though no normal trace is kept."""
    percentage = {"0": "100", "1": "0"}[ratio]
    with (
        OtlpReceiver(with_grpc=False) as backend,
        Collector(
            tmp_path / "collector", backend=backend.endpoint, OTELCOL_TAIL_PERCENTAGE=percentage
        ) as collector,
    ):
        settings = to_collector(collector) | {"FIVEOBS_TRACE_SAMPLE_RATIO": ratio}
        with Worker(tmp_path / "home", settings) as worker:
            worker.tell("succeed 5")
            worker.tell("late 3")
        backend.wait_for(lambda _: len(backend.spans) >= 2, timeout_s=TIMEOUT_S)
        assert {each["name"] for each in backend.spans} == {"late", "early"}
