"""The five tracks wired by hand, call for call as the example that fiveobs replaces does it.

Per job: a span with two attributes at the start, status and output size at the end; four metric
calls; three events through fluent-logger's asynchronous sender; two JSON log lines to a file, for a
log collector to tail; sizes by serialising input once and output twice; Sentry set up, and a scope
with tags and context for a job that fails.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench._case import SERVICE, Case, Job, Plan, work_for

REQUIRES = "fluent-logger sentry-sdk opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
_BUCKETS_S = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 300]
_EVENTS_PER_JOB = 3
_METRICS_INTERVAL_MS = 30_000  # METRICS_COLLECTION_INTERVAL=30s, as fiveobs is given


def environment(plan: Plan) -> dict[str, str]:
    """Nothing to set: the code below names everything."""
    del plan
    return {}


def build(plan: Plan) -> Case:
    """Wire every track and return the job that calls them all."""
    wiring = _Wiring(plan)
    return Case(
        job=wiring.wrap(work_for(plan)),
        flush=wiring.flush,
        shutdown=wiring.shutdown,
        expected={
            "otlp.spans": plan.all_jobs,
            "otlp.metric_totals.jobs_processed_total": plan.all_jobs,
            "otlp.metric_totals.job_duration_seconds": plan.all_jobs,
            "forward.records": plan.all_jobs * _EVENTS_PER_JOB,
        },
        notes=(
            "fluent-logger's queue as long as the run (default 100, then emit blocks) and span "
            "queue likewise (default 2048, then spans are dropped); Sentry with its defaults, so "
            "each log line becomes a breadcrumb"
        ),
    )


class _Wiring:
    """The clients of the five tracks."""

    def __init__(self, plan: Plan) -> None:
        self.tracer_provider = _tracer_provider(plan)
        self.meter_provider = _meter_provider(plan)
        self.events = _ConnectorLogger(plan)
        self.log = _json_log(Path(plan.home) / "jobs.log")
        _start_sentry(plan)

    def flush(self) -> None:
        """Send what is pending."""
        self.tracer_provider.force_flush()
        self.meter_provider.force_flush()
        self.events.drain()

    def shutdown(self) -> None:
        """End every client; fluent-logger's ``close`` waits for its queue."""
        import sentry_sdk

        self.events.close()
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()
        sentry_sdk.get_client().close(timeout=5.0)

    # The example is one function on purpose, and so is this: it is what people write.
    def wrap(self, work: Job) -> Job:
        """The job's body with all five tracks around it."""
        import sentry_sdk
        from opentelemetry.trace import Status, StatusCode

        tracer = self.tracer_provider.get_tracer("job-processing")
        meter = self.meter_provider.get_meter("emp-job-queue")
        jobs_active = meter.create_up_down_counter("jobs_active")
        jobs_processed = meter.create_counter("jobs_processed_total")
        errors_count = meter.create_counter("errors_total")
        job_duration = meter.create_histogram(
            "job_duration_seconds", explicit_bucket_boundaries_advisory=_BUCKETS_S
        )
        events, log = self.events, self.log

        def job(job_data: dict[str, Any]) -> dict[str, Any]:
            job_id, service = job_data["id"], job_data["service_required"]
            span = tracer.start_span(
                "process-job-full", attributes={"job.id": job_id, "job.service": service}
            )
            events.emit("job_received", job_id, input_size=len(json.dumps(job_data)))
            start_s = time.time()
            try:
                jobs_active.add(1, {"service": service})
                events.emit("job_started", job_id)
                log.info("job started", extra={"job_id": job_id})
                result = work(job_data)
                duration_s = time.time() - start_s
                output_size = len(json.dumps(result))
                events.emit("job_completed", job_id, duration=duration_s, output_size=output_size)
                log.info("job completed", extra={"job_id": job_id})
                jobs_processed.add(1, {"status": "success", "service": service})
                job_duration.record(duration_s, {"service": service})
                span.set_status(Status(StatusCode.OK))
                span.set_attributes({"job.output_size": len(json.dumps(result))})
            except Exception as exc:
                with sentry_sdk.new_scope() as scope:
                    scope.set_tag("job_id", job_id)
                    scope.set_tag("service_type", service)
                    scope.set_context("job_data", {"id": job_id, "service": service})
                    scope.capture_exception(exc)
                events.emit("job_failed", job_id, error=str(exc), duration=time.time() - start_s)
                errors_count.add(1, {"error_type": type(exc).__name__, "service": service})
                span.record_exception(exc)
                span.set_status(Status(StatusCode.ERROR, str(exc)))
                raise
            else:
                return result
            finally:
                jobs_active.add(-1, {"service": service})
                span.end()

        return job


class _ConnectorLogger:
    """Operational events through fluent-logger's asynchronous sender."""

    def __init__(self, plan: Plan) -> None:
        from fluent import asyncsender

        sink = plan.sinks["forward"]
        self._queue_maxsize = plan.all_jobs * _EVENTS_PER_JOB
        self._sender = asyncsender.FluentSender(
            "connector",
            host=sink["host"],
            port=sink["port"],
            nanosecond_precision=True,
            queue_maxsize=self._queue_maxsize,
        )

    def emit(self, event_type: str, job_id: str, **data: Any) -> None:
        """Queue one event."""
        event = {
            "event_type": event_type,
            "timestamp": datetime.now(UTC).isoformat(),
            "service": SERVICE,
            "job_id": job_id,
            "machine_id": "machine-bench-01",
            "worker_id": "worker-bench-01",
            **data,
        }
        self._sender.emit(event_type, event)

    def drain(self) -> None:
        """Wait until the queue is empty: the sender has no flush."""
        while not self._sender._queue.empty():
            time.sleep(0.005)

    def close(self) -> None:
        """Send the rest and stop."""
        self._sender.close()


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its job."""
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "service": SERVICE,
            "job_id": getattr(record, "job_id", None),
        }
        return json.dumps(line)


def _json_log(path: Path) -> logging.Logger:
    handler = logging.FileHandler(path)
    handler.setFormatter(_JsonFormatter())
    log = logging.getLogger("bench.jobs")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    return log


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({"service.name": SERVICE})


def _tracer_provider(plan: Plan) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=_resource())
    exporter = OTLPSpanExporter(f"{plan.sinks['otlp']['endpoint']}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=plan.all_jobs))
    return provider


def _meter_provider(plan: Plan) -> Any:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporter = OTLPMetricExporter(f"{plan.sinks['otlp']['endpoint']}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=_METRICS_INTERVAL_MS)
    return MeterProvider(metric_readers=[reader], resource=_resource())


def _start_sentry(plan: Plan) -> None:
    import sentry_sdk

    sentry_sdk.init(dsn=plan.sinks["sentry"]["dsn"], environment="production")
