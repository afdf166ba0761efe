"""What raises around a job, in the application's own parts, never reaches the job."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.transport import Transport

from fiveobs import LogHandler, announce_job, bus, current_job, observe_job
from fiveobs.testing import Captured, FakeClock, capture

DSN = "https://public@fiveobs.invalid/1"


@observe_job("copy")
def copy(text: str) -> str:
    job = current_job()
    assert job is not None
    job.log.info("copying")
    with job.stage("write"):
        job.count("copies")
    if not text:
        raise ValueError("nothing to copy")
    return text


def assert_unharmed(captured: Captured) -> None:
    """Jobs end as they would, and the journal says so, under ids of their own."""
    assert copy("a") == "a"
    with pytest.raises(ValueError, match="nothing to copy"):
        copy("")
    assert current_job() is None
    assert [job.status for job in captured.jobs] == ["completed", "failed"]
    assert all(job.trace_id and job.span_id for job in captured.jobs)


# --- the bus ---


def test_a_bus_handler_that_raises_does_not_reach_the_job() -> None:
    """Its event goes to the dead letters, the job's end is as ever, and other handlers get it."""
    seen: list[str] = []

    def refuse(event: Any) -> None:
        raise RuntimeError(event.event_type)

    with capture() as captured:
        bus.subscribe("job.completed", refuse, retries=0)
        bus.subscribe("job.*", lambda event: seen.append(event.event_type))
        assert_unharmed(captured)
        assert captured.flush()
        assert seen == ["job.started", "job.completed", "job.started", "job.failed"]
        assert [letter.event.event_type for letter in bus.dead_letters()] == ["job.completed"]


# --- OpenTelemetry: spans ---


class RaisingProcessor(SpanProcessor):
    """Raises in the given method."""

    def __init__(self, method: str) -> None:
        setattr(self, method, self._raise)

    def _raise(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("processor")


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(
    monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter
) -> Iterator[TracerProvider]:
    """A provider that the application has set up."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield provider
    provider.shutdown()


def test_the_applications_provider_gets_the_spans(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """Where the application has a provider, our spans are its spans, with the events' ids."""
    with capture() as captured:
        assert_unharmed(captured)
        spans = {f"{span.context.span_id:016x}": span for span in exporter.get_finished_spans()}
        for job in captured.jobs:
            span = spans[str(job.span_id)]
            assert f"{span.context.trace_id:032x}" == job.trace_id
            assert span.name == "copy"
        assert "traces" not in captured.accounting()


@pytest.mark.parametrize("method", ["on_start", "on_end", "_on_ending"])
def test_a_span_processor_that_raises_does_not_reach_the_job(
    provider: TracerProvider, method: str
) -> None:
    """The SDK lets a processor's error through to whoever ends the span; we do not."""
    provider.add_span_processor(RaisingProcessor(method))
    with capture() as captured:
        assert_unharmed(captured)
        assert captured.problems


def test_a_provider_that_gives_no_tracer_does_not_stop_the_other_tracks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A provider that raises when asked for a tracer costs the traces, nothing else."""

    class RaisingProvider(trace.TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("provider")

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", RaisingProvider())
    with capture() as captured:
        assert_unharmed(captured)
        assert captured.problems


FORK = """
import os
from fiveobs import observe_job
from fiveobs.testing import capture

with capture(), observe_job("parent"):
    from concurrent.futures import ThreadPoolExecutor
    pid = os.fork()
    if not pid:
        with observe_job("child"):
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_after_the_first_job_goes_on_in_the_child() -> None:
    """The SDK's own fork hook does not hang where executors are used later than our provider."""
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=30)


# --- OpenTelemetry: metrics ---


class RaisingReader(MetricReader):
    """Raises when the application collects."""

    def _receive_metrics(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("reader")

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to end."""


def use_meter_provider(monkeypatch: pytest.MonkeyPatch, provider: Any) -> None:
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", provider)


def figures_of(reader: InMemoryMetricReader) -> dict[str, float]:
    """The sum of each instrument's values."""
    data = reader.get_metrics_data()
    assert data is not None
    found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
    return {m.name: sum(getattr(p, "value", 0) for p in m.data.data_points) for m in found}


def test_a_metric_reader_that_raises_does_not_reach_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One reader of the application's raises while it collects; the other one has the figures."""
    raising, working = RaisingReader(), InMemoryMetricReader()
    provider = MeterProvider([raising, working], shutdown_on_exit=False)
    use_meter_provider(monkeypatch, provider)
    with capture() as captured:
        assert_unharmed(captured)
        with pytest.raises(RuntimeError, match="reader"):
            raising.collect()
        assert captured.flush()
        with observe_job("running"):
            figures = figures_of(working)
        assert figures["jobs.processed"] == 2
        assert figures["jobs.active"] == 1
    provider.shutdown()


def test_a_provider_that_gives_no_meter_does_not_stop_the_other_tracks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A provider that raises when asked for a meter costs the metrics, nothing else."""

    class RaisingProvider(metrics.MeterProvider):
        def get_meter(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("provider")

    use_meter_provider(monkeypatch, RaisingProvider())
    with capture() as captured:
        assert_unharmed(captured)
        assert captured.problems
        assert captured.spans


# --- logging ---


class RaisingHandler(logging.Handler):
    """Raises for each record."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("handler")


@pytest.fixture(params=["", "fiveobs.internal"], ids=["root", "fiveobs.internal"])
def raising_handler(request: pytest.FixtureRequest) -> Iterator[None]:
    logger, handler = logging.getLogger(request.param), RaisingHandler()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.mark.usefixtures("raising_handler")
def test_a_logging_handler_that_raises_does_not_reach_the_job() -> None:
    """What we report goes through the application's handlers; what they raise ends there."""

    class Track:
        name = "noisy"

        def on_event(self, event: Any) -> None:
            raise OSError("so that there is something to report")

        def close(self, timeout_s: float) -> None:
            raise OSError("again")

    with capture(tracks=[Track()], broken={"logs", "metrics"}) as captured:
        assert_unharmed(captured)
        assert captured.flush(timeout_s=0.2) is False
        assert captured.spans
        captured.repair("logs")
        assert captured.log_records


def test_our_own_handler_does_not_raise_into_the_application() -> None:
    """A record that cannot be formatted is reported, and the application's call returns."""
    logger, handler = logging.getLogger("app"), LogHandler()
    logger.addHandler(handler)
    logger.propagate = False  # pytest's own handler raises
    try:
        with capture() as captured:
            logger.warning("%d apples", "no number")
            assert any(problem.startswith("log: ") for problem in captured.problems)
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


# --- Sentry ---


class KeepingTransport(Transport):
    """Keeps what the application's client sends."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.envelopes: list[Any] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.envelopes.append(envelope)


class RaisingTransport(KeepingTransport):
    def capture_envelope(self, envelope: Any) -> None:
        raise RuntimeError("transport")


def raise_in_hook(event: Any, hint: Any) -> Any:
    raise RuntimeError("before_send")


@pytest.fixture
def sentry() -> Iterator[Any]:
    """Sets up a client as the application would."""

    def init(**options: Any) -> Any:
        sentry_sdk.init(DSN, default_integrations=False, **options)
        return sentry_sdk.get_client()

    yield init
    sentry_sdk.get_global_scope().set_client(None)


def test_the_applications_client_gets_the_errors(sentry: Any) -> None:
    """Where the application has a client, it gets the error, with the job's ids and trace."""
    client = sentry(transport=KeepingTransport)
    with capture() as captured:
        assert_unharmed(captured)
        failed = captured.jobs[1]
        [envelope] = client.transport.envelopes
        event = envelope.get_event()
        assert event["tags"]["job_id"] == failed.job_id
        assert event["contexts"]["trace"]["trace_id"] == failed.trace_id
        assert event["event_id"] == failed.last.data["sentry_event_id"]
        assert "errors" not in captured.accounting()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"before_send": raise_in_hook, "transport": KeepingTransport}, id="hook"),
        pytest.param({"transport": RaisingTransport}, id="transport"),
        pytest.param(
            {"before_send_transaction": raise_in_hook, "transport": RaisingTransport},
            id="transaction",
        ),
    ],
)
def test_a_sentry_client_that_raises_does_not_reach_the_job(sentry: Any, options: Any) -> None:
    """What ``before_send`` or transport raises ends with the report, and leaves nothing open."""
    sentry(**options)
    with capture(sentry_sample_rate=1.0) as captured:
        assert_unharmed(captured)
        assert captured.spans
        assert sentry_sdk.get_current_span() is None


# --- what callers pass ---


class Hostile:
    """Raises whatever is done with it."""

    def __str__(self) -> str:
        raise RuntimeError("hostile")

    __repr__ = __len__ = __iter__ = __float__ = __index__ = __str__  # type: ignore[assignment]


def test_values_that_raise_do_not_reach_the_job() -> None:
    """A caller's value whose own methods raise is left out or masked, wherever it is passed."""
    bad: Any = Hostile()
    with capture() as captured:
        with observe_job("h", job_id=bad, attempt=bad, attributes={"a": bad}, carrier=bad) as job:
            job.progress(bad, bad)
            job.milestone("m", value=bad)
            job.set(value=bad)
            job.result(value=bad)
            job.count("c", bad, label=bad)
            job.log.info(bad, value=bad)
            job.retrying(bad)
            with job.stage(bad, total=bad) as stage:
                stage.advance(bad)
                stage.advance(1)
        assert announce_job(bad, job_id=bad)
        assert captured.job(job.job_id).status == "completed"
        assert captured.ids_agree(job.job_id)


@pytest.mark.parametrize(
    "bad", ["10", object(), float("nan"), -1], ids=["text", "object", "nan", "negative"]
)
def test_a_stage_with_an_unusable_total_ends(bad: Any) -> None:
    """A total or count that is no number costs the percentage, not the stage or its span."""
    clock = FakeClock()
    with capture(clock=clock) as captured:
        with observe_job("load") as job, job.stage("read", total=bad) as stage:
            clock.advance(1)
            stage.advance("one")  # type: ignore[arg-type]
            stage.advance(1)
        assert captured.events_of("stage.completed")[0].data["done"] == 1
        assert [span["name"] for span in captured.spans] == ["read", "load"]
        assert trace.get_current_span() is trace.INVALID_SPAN
