"""Metrics: what jobs, queues, process and machine come to, in our sums or the application's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import fiveobs
from fiveobs import _queues, announce_job, observe_job, observe_queue
from fiveobs.testing import Captured, FakeClock, capture
from fiveobs.tracks import _observations
from fiveobs.tracks._sums import Instrument
from fiveobs.tracks.metrics import SUMMED

IDENTITY = {"service": "thumbnails", "name": "resize"}


@pytest.fixture
def captured() -> Iterator[Captured]:
    with capture(clock=FakeClock(), metrics_interval_s=3600.0) as found:
        yield found


def run(*, fails: type[BaseException] | None = None, **options: Any) -> None:
    """One job of each outcome."""
    try:
        with observe_job("resize", service="thumbnails", **options):
            if fails is not None:
                raise fails("as asked")
    except BaseException as error:
        if fails is None or not isinstance(error, fails):
            raise


def points(captured: Captured, name: str) -> list[dict[str, Any]]:
    return captured.metrics[name]


# --- jobs ---


def test_jobs_are_counted_by_service_name_and_status(captured: Captured) -> None:
    """A completed job's status is ``success``; others keep their own."""
    for fails in (None, None, ValueError, KeyboardInterrupt, GeneratorExit):
        run(fails=fails)
    for status, count in {"success": 2, "failed": 1, "interrupted": 1, "cancelled": 1}.items():
        assert captured.metric("jobs.processed", {**IDENTITY, "status": status}) == count
    assert {point["unit"] for point in points(captured, "jobs.processed")} == {"{job}"}
    assert {point["kind"] for point in points(captured, "jobs.processed")} == {"sum"}


def test_errors_are_counted_by_type(captured: Captured) -> None:
    """With the module where it is not a builtin; interruptions are no errors."""

    class OwnError(Exception):
        pass

    for fails in (ValueError, ValueError, OwnError, KeyboardInterrupt, None):
        run(fails=fails)
    own = f"{__name__}.{OwnError.__qualname__}"
    found = {p["attributes"]["error.type"]: p["value"] for p in points(captured, "errors")}
    assert found == {"ValueError": 2, own: 1}
    assert captured.metric("errors", {"service": "thumbnails"}) == 3


def test_durations_are_in_the_specified_buckets(captured: Captured) -> None:
    """0.1 s to 300 s as asked for, then on to a day."""
    for seconds in (0.05, 0.3, 400, 100_000):
        with observe_job("resize", service="thumbnails"):
            captured.clock.advance(seconds)
    (point,) = points(captured, "job.duration")
    assert point["bounds"][:9] == [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0]
    assert point["bounds"][-1] == 86400.0
    assert [index for index, count in enumerate(point["buckets"]) if count] == [0, 1, 9, 16]
    assert point["sum"] == pytest.approx(100_400.35)
    assert (point["unit"], point["attributes"]) == ("s", {**IDENTITY, "status": "success"})


def test_stages_are_measured_by_service_and_stage(captured: Captured) -> None:
    """Whether they completed or failed."""
    with pytest.raises(ValueError), observe_job("resize", service="thumbnails") as job:
        with job.stage("Loading"):
            captured.clock.advance(2)
        with job.stage("Loading"):
            captured.clock.advance(4)
            raise ValueError
    (point,) = points(captured, "job.stage.duration")
    assert point["attributes"] == {"service": "thumbnails", "stage": "Loading"}
    assert (point["count"], point["sum"], point["unit"]) == (2, 6.0, "s")


def test_the_wait_in_a_queue_is_from_announcement_to_start(captured: Captured) -> None:
    """By the queue's name; the announcement is counted."""
    headers = announce_job("resize", service="thumbnails", queue="images")
    captured.clock.advance(7)
    run(carrier=headers)
    (point,) = points(captured, "job.queue.wait")
    assert (point["attributes"], point["sum"], point["unit"]) == ({"queue": "images"}, 7.0, "s")
    assert captured.metric("jobs.received", {"service": "thumbnails"}) == 1


def test_a_job_that_was_not_announced_has_no_wait(captured: Captured) -> None:
    """Nor has one whose clock lies before the announcer's a negative one."""
    run(queue="images")
    assert "job.queue.wait" not in captured.metrics
    ahead = str(captured.clock.time_ns() + 10**12)
    run(carrier={"baggage": f"fiveobs.queued_at_ns={ahead},fiveobs.queue=q"})
    assert points(captured, "job.queue.wait")[0]["sum"] == 0


def test_active_jobs_are_those_that_run(captured: Captured) -> None:
    """In all threads, by service, and back to zero at the end."""
    barrier = threading.Barrier(4)

    def work(service: str) -> None:
        with observe_job("w", service=service) as job:
            job.count("begun")
            barrier.wait(10)
            barrier.wait(10)

    threads = [threading.Thread(target=work, args=(each,)) for each in ("a", "a", "b")]
    for thread in threads:
        thread.start()
    barrier.wait(10)
    assert captured.flush()
    assert captured.metric("jobs.active", {"service": "a"}) == 2
    assert captured.metric("jobs.active", {"service": "b"}) == 1
    barrier.wait(10)
    for thread in threads:
        thread.join()
    run()
    active = {p["attributes"]["service"]: p["value"] for p in points(captured, "jobs.active")}
    assert {"a", "b", "tests"} <= active.keys()
    assert set(active.values()) == {0}


def test_a_service_whose_jobs_are_over_is_known_to_have_none(captured: Captured) -> None:
    """Also where no job ran at the moment of an export: 0 is a figure, and absent is unknown."""
    run()
    assert captured.flush()
    active = {p["attributes"]["service"]: p["value"] for p in points(captured, "jobs.active")}
    assert active == {"thumbnails": 0, "tests": 0}


def test_services_without_end_are_not_remembered() -> None:
    """Past the limit of label sets, what has no job any more is forgotten."""
    with capture(metric_label_limit=3) as captured:
        for number in range(10):
            with observe_job("w", service=f"service-{number}"):
                pass
        assert captured.flush()
        known = [each["attributes"]["service"] for each in points(captured, "jobs.active")]
    assert known == ["service-0", "service-1", "tests"]


def test_no_label_has_a_jobs_id(captured: Captured) -> None:
    """Each job would be a series of its own."""
    run(job_id="7", session_id="s", request_id="r")
    for series in captured.metrics.values():
        for point in series:
            assert not {"job_id", "session_id", "request_id", "trace_id"} & set(point["attributes"])


# --- exemplars ---


def test_exemplars_lead_to_traces_that_are_kept() -> None:
    """Those of jobs that nobody will find a trace of are left out."""
    with capture(trace_sample_ratio=0.0) as captured:
        run()
        run(fails=ValueError)
        by_status = {p["attributes"]["status"]: p for p in points(captured, "job.duration")}
        assert by_status["success"]["exemplars"] == []
        (exemplar,) = by_status["failed"]["exemplars"]
        assert exemplar["span_id"] == captured.jobs[1].span_id
        assert exemplar["trace_id"] in {span["trace_id"] for span in captured.spans}


# --- a user's own ---


def test_own_measures_have_value_unit_and_labels(captured: Captured) -> None:
    """Counters add, gauges stay, histograms collect."""
    with observe_job("job") as job:
        job.count("records", 128, unit="{record}", source="s3")
        job.count("records", 2, source="s3")
        job.count("records", source="disk")
        job.gauge("temperature", 20.5)
        job.gauge("temperature", 21.5)
        job.record("row.size", 100, unit="By")
        job.record("row.size", 300, unit="By")
    assert captured.metric("records", {"source": "s3"}) == 130
    assert captured.metric("records", {"source": "disk"}) == 1
    assert points(captured, "records")[0]["unit"] == "{record}"
    assert captured.metric("temperature") == 21.5
    (point,) = points(captured, "row.size")
    assert (point["count"], point["sum"], point["unit"]) == (2, 400.0, "By")


def test_own_measures_that_cannot_be_are_dropped_and_said(captured: Captured) -> None:
    """A name of ours, a name with two kinds, and what is no number."""
    with observe_job("job") as job:
        job.count("jobs.processed", 1000)
        job.gauge("process.cpu.time", 1000)
        job.count("both")
        job.gauge("both", 5)
        job.count("negative", -1)
        job.count("nan", float("nan"))
        job.gauge("text", "many")  # type: ignore[arg-type]
    assert captured.flush()
    assert captured.metric("jobs.processed") == 1
    assert captured.metric("process.cpu.time") < 1000
    assert captured.metric("both") == 1
    assert not {"negative", "nan", "text"} & captured.metrics.keys()
    for name in ("jobs.processed", "process.cpu.time", "both", "negative"):
        assert any(name in problem for problem in captured.problems), name
    sums = captured.accounting()["metrics"]
    assert (sums.dropped, sums.pending) == (3, 0)


@pytest.mark.parametrize(
    ("name", "sent"),
    [("my metric!", "my_metric_"), ("größe", "gr__e"), ("9lives", "m_9lives"), ("a.b/c-d_e", None)],
)
def test_own_names_are_made_what_opentelemetry_allows(
    captured: Captured, name: str, sent: str | None
) -> None:
    """Receivers refuse others, and with them all the rest."""
    with observe_job("job") as job:
        job.count(name, unit="°C")
    assert captured.metric(sent or name) == 1


def test_a_metrics_label_sets_are_capped() -> None:
    """Beyond the limit there is one overflow series, and the sum is right."""
    with capture(metric_label_limit=3) as captured:
        with observe_job("job") as job:
            for number in range(10):
                job.count("records", source=str(number))
        assert len(captured.metrics["records"]) == 4
        assert captured.metric("records") == 10
        assert captured.metric("records", {"otel.metric.overflow": True}) == 7


# --- sending ---


def test_counters_go_on_over_an_outage() -> None:
    """Nothing is counted twice or lost, and what is sent never falls."""
    with capture(broken={"metrics"}) as captured:
        for _ in range(3):
            run()
            assert captured.flush(0.05, track="metrics") is False
        captured.repair("metrics")
        assert captured.metric("jobs.processed") == 3
        run()
        assert captured.metric("jobs.processed") == 4


def test_delta_temporality_sends_what_was_added() -> None:
    """Of our counters and of the system's."""
    with capture(metrics_temporality="delta") as captured:
        run()
        assert captured.metric("jobs.processed") == 1
        first = captured.metric("process.cpu.time")
        run()
        run()
        assert captured.metric("jobs.processed") == 2
        assert captured.metric("process.cpu.time") < max(first, 0.5)


def test_our_own_figures_are_sent(captured: Captured) -> None:
    """What became of each track's records, and the time that jobs spent in us."""
    run()
    assert captured.flush()
    run()
    assert captured.metric("fiveobs.records.accepted", {"track": "events"}) >= 3
    assert captured.metric("fiveobs.records.pending", {"track": "events"}) == 0
    assert captured.metric("fiveobs.overhead") >= 0
    tracks = {p["attributes"]["track"] for p in points(captured, "fiveobs.records.dropped")}
    assert tracks == {"events", "logs", "traces", "metrics", "errors"}


# --- process, machine, queues ---


def test_process_and_machine_are_measured(captured: Captured) -> None:
    """CPU, memory and its limit, threads, disk and network."""
    run()
    found = captured.metrics
    assert found["process.memory.usage"][0]["value"] > 1_000_000
    assert found["process.memory.limit"][0]["value"] > found["container.memory.usage"][0]["value"]
    assert found["process.thread.count"][0]["value"] >= 2
    assert 0 <= found["system.memory.utilization"][0]["value"] <= 1
    directions = {p["attributes"]["network.io.direction"] for p in found["system.network.io"]}
    assert directions == {"transmit", "receive"}


def test_observed_queues_are_measured(captured: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under their names; one that cannot be read is left out."""
    monkeypatch.setattr(_queues, "_sizes", {})
    observe_queue("images", lambda: 12)
    observe_queue("down", lambda: 1 // 0)
    run()
    assert [(p["attributes"], p["value"]) for p in points(captured, "queue.size")] == [
        ({"queue": "images"}, 12.0)
    ]


class NVMLError(Exception):
    """As the driver's library has it."""


class FakeNvml:
    """Two GPUs: one says everything, the other only its name; a third has fallen off the bus."""

    NVMLError = NVMLError

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - the library's name
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - the library's name
        if index == 2:
            raise NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetName(self, handle: int) -> Any:  # noqa: N802 - the library's name
        return b"H100" if handle == 0 else "Old"

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=40),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=10, total=80),
            "nvmlDeviceGetTemperature": 55,
            "nvmlDeviceGetPowerUsage": 300_000,
        }

        def read(handle: int, *args: Any) -> Any:
            if handle == 1:
                raise NVMLError("not supported")
            return answers[name]

        return read


def gpu_figures() -> list[tuple[str, dict[str, Any], float]]:
    found = _observations.observations((), set(), {}, 0.0, {})
    return [(each.name, dict(labels), value) for each, labels, value in found if "hw." in each.name]


def test_gpus_are_measured_where_nvml_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one of them does not say, or one that is gone, costs no other figure."""
    monkeypatch.setattr(_observations, "_nvml", FakeNvml)
    labels = {"hw.id": "0", "hw.name": "H100"}
    assert gpu_figures() == [
        ("hw.gpu.utilization", labels, 0.4),
        ("hw.gpu.memory.usage", labels, 10),
        ("hw.gpu.memory.limit", labels, 80),
        ("hw.temperature", labels, 55),
        ("hw.power", labels, 300.0),
    ]


def test_a_driver_that_does_not_answer_costs_no_other_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The library is there, and every call of it fails."""
    monkeypatch.setattr(FakeNvml, "nvmlDeviceGetCount", lambda self: self.nvmlDeviceGetName(1) + 1)
    monkeypatch.setattr(_observations, "_nvml", FakeNvml)
    assert gpu_figures() == []
    names = {each[0].name for each in _observations.observations((), set(), {}, 0.0, {})}
    assert "process.cpu.time" in names


@pytest.mark.parametrize("init", [None, NVMLError("driver not loaded")])
def test_without_a_driver_there_are_no_gpus(
    monkeypatch: pytest.MonkeyPatch, init: Exception | None
) -> None:
    """The extra is not installed, or nothing answers; it is looked for once."""

    class Library:
        def nvmlInit(self) -> None:  # noqa: N802 - the library's name
            if init is not None:
                raise init

    library: Any = None if init is None else Library()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    _observations._nvml.cache_clear()
    try:
        assert gpu_figures() == []
    finally:
        _observations._nvml.cache_clear()


def test_every_observed_instrument_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application's meter is told of them beforehand; no name is there twice."""
    monkeypatch.setattr(_observations, "_nvml", FakeNvml)
    monkeypatch.setattr(_queues, "_sizes", {"q": lambda: 1})
    found = _observations.observations(["s"], set(), {}, 0.0, {"events": 0})
    assert {each[0] for each in found} <= set(_observations.OBSERVED)
    declared = [v for v in vars(_observations).values() if isinstance(v, Instrument)]
    assert set(declared) <= set(_observations.OBSERVED)
    names = [each.name for each in (*SUMMED, *_observations.OBSERVED)]
    assert len(names) == len(set(names))


# --- the application's meter ---


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """A provider that the application has set up."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", provider)
    yield reader
    provider.shutdown()


def collect(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    scopes = (
        [scope for each in data.resource_metrics for scope in each.scope_metrics] if data else []
    )
    return {
        metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics
    }


def test_the_applications_meter_gets_the_same(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs, stages, waits, own measures and figures; and we send none of it ourselves."""
    monkeypatch.setattr(_queues, "_sizes", {})
    with capture() as captured:
        with observe_job("resize", carrier=announce_job("resize", queue="images")) as job:
            with job.stage("Loading"):
                job.count("records", 128, source="s3")
                job.gauge("temperature", 20.5)
                job.record("row.size", 100)
            observe_queue("images", lambda: 5)
            assert captured.flush()
            assert collect(reader)["jobs.active"][0].value == 1
        run(fails=ValueError)
        assert captured.flush()
        found = collect(reader)
        assert captured.metrics == {}
    (success,) = (p for p in found["jobs.processed"] if p.attributes["status"] == "success")
    assert (success.value, success.attributes["name"]) == (1, "resize")
    assert found["errors"][0].attributes["error.type"] == "ValueError"
    assert {point.value for point in found["jobs.active"]} == {0}
    assert found["queue.size"][0].value == 5
    assert found["job.queue.wait"][0].attributes == {"queue": "images"}
    assert found["job.stage.duration"][0].attributes["stage"] == "Loading"
    assert found["records"][0].value == 128
    assert found["temperature"][0].value == 20.5
    assert found["row.size"][0].sum == 100
    assert found["job.duration"][0].explicit_bounds[0] == 0.1
    assert found["process.memory.usage"][0].value > 0


def test_the_applications_meter_is_left_as_it_is(reader: InMemoryMetricReader) -> None:
    """It is not shut down with us; the next pipeline's figures replace the last one's."""
    with capture() as captured:
        run()
        assert captured.flush()
        fiveobs.shutdown()
        assert "jobs.active" not in collect(reader)
        run()
        assert captured.flush()
        found = collect(reader)
        services = [point.attributes["service"] for point in found["jobs.active"]]
        assert sorted(services) == ["tests", "thumbnails"]
        assert {point.value for point in found["jobs.active"]} == {0}
        assert len(found["process.memory.usage"]) == 1
    metrics.get_meter("app").create_counter("mine").add(1)
    assert collect(reader)["mine"][0].value == 1


def test_an_own_name_that_the_meter_refuses_does_not_hold_up_the_rest(
    reader: InMemoryMetricReader,
) -> None:
    """It is made what OpenTelemetry allows, and everything is counted once."""
    with capture() as captured:
        with observe_job("job") as job:
            job.count("my metric!", unit="°C" * 50)
        assert captured.flush()
        found = collect(reader)
        assert found["my_metric_"][0].value == 1
        assert found["jobs.processed"][0].value == 1
