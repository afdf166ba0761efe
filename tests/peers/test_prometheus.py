"""The metrics as Prometheus has them: from a worker through the Collector, with the real rules."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.peers.harness.collector import CONFIG_FOLDER, Collector
from tests.peers.harness.program import until
from tests.peers.harness.prometheus import Prometheus
from tests.peers.harness.worker import Worker, to_collector
from tests.support import workers
from tests.support.receivers import OtlpReceiver

pytestmark = pytest.mark.peer

#: Before Prometheus' first scrape, and after it: only the second is an increase to Prometheus,
#: which from a few seconds extrapolates up to two and a half times as much.
FIRST_SUCCEEDED, FIRST_FAILED = 4, 2
THEN_SUCCEEDED, THEN_FAILED = 12, 3
SUCCEEDED, FAILED = FIRST_SUCCEEDED + THEN_SUCCEEDED, FIRST_FAILED + THEN_FAILED
ANNOUNCED = 3
TIMEOUT_S = 60.0
#: The five that the specification names, as PromQL.
PUBLISHED = (
    "jobs_processed_total",
    "errors_total",
    "jobs_active",
    "queue_size",
    "job_duration_seconds_count",
)


class Scraped:
    """What Prometheus answered while a worker was at work."""

    def __init__(self, folder: Path) -> None:
        with (
            OtlpReceiver(with_grpc=False) as self.backend,
            Collector(folder / "collector", backend=self.backend.endpoint) as collector,
            Prometheus(
                folder / "prometheus", [collector.prometheus_port, collector.telemetry_port]
            ) as prometheus,
            Worker(folder / "home", to_collector(collector)) as worker,
        ):
            self.pid = self._have_work_done(worker, prometheus)
            self._ask(prometheus)
            worker.tell("end")
            worker.end()
            spans = sum("span" in each for each in workers.events(worker.home))
            self.backend.wait_for(lambda _: len(self.backend.spans) >= spans, timeout_s=TIMEOUT_S)

    def _have_work_done(self, worker: Worker, prometheus: Prometheus) -> int:
        worker.tell("begin")
        worker.tell(f"announce {ANNOUNCED}")
        self._work(worker, FIRST_SUCCEEDED, FIRST_FAILED)
        self._until_counted(prometheus, FIRST_SUCCEEDED + FIRST_FAILED)
        self._work(worker, THEN_SUCCEEDED, THEN_FAILED)
        self._until_counted(prometheus, SUCCEEDED + FAILED)
        started = workers.events(worker.home, "worker.started")[0]
        return int(started["data"]["pid"])

    @staticmethod
    def _work(worker: Worker, succeed: int, fail: int) -> None:
        worker.tell(f"succeed {succeed}")
        worker.tell(f"fail {fail}")
        assert worker.tell(f"flush {TIMEOUT_S}"), worker.errors

    @staticmethod
    def _until_counted(prometheus: Prometheus, jobs: int) -> None:
        def counted() -> bool:
            return [each["value"] for each in prometheus.query("sum(jobs_processed_total)")] == [
                jobs
            ]

        until(counted, timeout_s=TIMEOUT_S, what=f"{jobs} jobs in Prometheus")

    def _ask(self, prometheus: Prometheus) -> None:
        until(
            lambda: (
                prometheus.alerts("FiveobsErrorTypeNew")
                and prometheus.alerts("FiveobsJobFailureRateHigh")
            ),
            timeout_s=TIMEOUT_S,
            what="alerts",
        )
        until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()))
        self.found = {name: prometheus.query(name) for name in PUBLISHED}
        self.p95_s = prometheus.query(
            "histogram_quantile(0.95, sum by (le) (rate(job_duration_seconds_bucket[10m])))"
        )
        self.up = prometheus.query("up")
        self.exemplars = prometheus.exemplars("job_duration_seconds_bucket")
        self.rules = prometheus.rules()
        self.new_errors = prometheus.alerts("FiveobsErrorTypeNew")
        self.failing = prometheus.alerts("FiveobsJobFailureRateHigh")


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Scraped:
    """A worker, the Collector and Prometheus, once for all tests."""
    return Scraped(tmp_path_factory.mktemp("scraped"))


def series(found: list[dict[str, Any]], *labels: str) -> dict[tuple[str, ...], float]:
    """Values by these labels."""
    return {tuple(each["metric"].get(name, "") for name in labels): each["value"] for each in found}


def test_both_of_the_collectors_pages_are_scraped(scraped: Scraped) -> None:
    """Prometheus reads the workers' metrics and the Collector's own, as its file says."""
    assert series(scraped.up, "job") == {("fiveobs",): 1, ("otel-collector",): 1}


def test_all_five_metrics_are_found_by_their_published_names(scraped: Scraped) -> None:
    """Each is there with its labels and its exact value."""
    found = scraped.found
    ended = {
        ("thumbnails", "resize", "success"): SUCCEEDED,
        ("thumbnails", "resize", "failed"): FAILED,
    }
    assert series(found["jobs_processed_total"], "service", "name", "status") == ended
    assert series(found["job_duration_seconds_count"], "service", "name", "status") == ended
    assert series(found["errors_total"], "service", "error_type") == {
        ("thumbnails", "ValueError"): FAILED
    }
    assert series(found["jobs_active"], "service")["thumbnails",] == 1
    assert series(found["queue_size"], "queue") == {("images",): ANNOUNCED}


def test_every_series_says_whose_it_is(scraped: Scraped) -> None:
    """Service, process, worker and machine are labels, and the scrape has replaced none."""
    whose = {
        "job": "job-processor",
        "instance": f"{socket.gethostname()}-{scraped.pid}",
        "worker_id": "worker-gpu-01",
        "machine_id": "machine-prod-01",
    }
    for name, found in scraped.found.items():
        assert found, name
        for each in found:
            assert each["metric"].items() >= whose.items(), name
            assert not [label for label in each["metric"] if label.startswith("exported_")]


def test_no_series_has_a_jobs_id(scraped: Scraped) -> None:
    """No label of any of the five is an id of one job."""
    labels = {
        label for found in scraped.found.values() for each in found for label in each["metric"]
    }
    assert labels.isdisjoint({"job_id", "trace_id", "span_id", "session_id", "request_id"})


def test_durations_can_be_asked_for_by_quantile(scraped: Scraped) -> None:
    """The buckets add up to a 95th percentile within the first bucket."""
    (p95,) = scraped.p95_s
    assert 0 < p95["value"] <= 5


def test_exemplars_lead_from_prometheus_to_traces_at_the_backend(scraped: Scraped) -> None:
    """Each trace id beside a duration is that of a job's span which the backend has."""
    spans = {(each["trace_id"], each["span_id"]): each for each in scraped.backend.spans}
    statuses = set()
    for exemplar in scraped.exemplars:
        span = spans[exemplar["labels"]["trace_id"], exemplar["labels"]["span_id"]]
        assert span["name"] == exemplar["series"]["name"]
        duration_s = (span["end_ns"] - span["start_ns"]) * 1e-9
        assert float(exemplar["value"]) == pytest.approx(duration_s, abs=1e-6)
        statuses.add(exemplar["series"]["status"])
    assert statuses == {"success", "failed"}


def test_every_rule_is_loaded_and_none_is_in_error(scraped: Scraped) -> None:
    """All rules of the file have been evaluated on real data."""
    groups = yaml.safe_load((CONFIG_FOLDER / "prometheus-alerts.yaml").read_text())["groups"]
    names = [rule["alert"] for group in groups for rule in group["rules"]]
    assert sorted(rule["name"] for rule in scraped.rules) == sorted(names)
    assert {rule["health"] for rule in scraped.rules} == {"ok"}
    assert [rule for rule in scraped.rules if rule.get("lastError")] == []


def test_an_alert_fires_for_a_new_kind_of_error(scraped: Scraped) -> None:
    """A job's exception, sent by a real worker, is what a firing alert names."""
    (alert,) = scraped.new_errors
    assert alert["state"] == "firing"
    assert alert["labels"].items() >= {"service": "thumbnails", "error_type": "ValueError"}.items()
    assert alert["annotations"]["summary"].startswith("ValueError in thumbnails")


def test_an_alert_waits_for_jobs_that_go_on_failing(scraped: Scraped) -> None:
    """The failure rate of real series is above the limit: pending, as it has to last 5 minutes."""
    (alert,) = scraped.failing
    assert alert["state"] == "pending"
    assert alert["labels"].items() >= {"service": "thumbnails", "name": "resize"}.items()
    assert 0.1 < float(alert["value"]) < 1


def test_nothing_else_is_wrong(scraped: Scraped) -> None:
    """No alert about the telemetry itself: nothing was dropped, refused or held up."""
    active = {rule["name"] for rule in scraped.rules if rule["alerts"]}
    assert active == {"FiveobsErrorTypeNew", "FiveobsJobFailureRateHigh"}
