"""One bare OpenTelemetry span per job, batch-exported over OTLP/HTTP."""

from __future__ import annotations

from typing import Any

from bench._case import SERVICE, Case, Plan, work_for

REQUIRES = "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"


def environment(plan: Plan) -> dict[str, str]:
    """Nothing to set: the code below names everything."""
    del plan
    return {}


def build(plan: Plan) -> Case:
    """Wire a provider, a batch processor and the exporter."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(f"{plan.sinks['otlp']['endpoint']}/v1/traces")
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    processor = BatchSpanProcessor(exporter, max_queue_size=plan.all_jobs)
    provider.add_span_processor(processor)
    tracer, work = provider.get_tracer("bench"), work_for(plan)

    def job(job_data: dict[str, Any]) -> dict[str, Any]:
        with tracer.start_as_current_span("bench-job") as span:
            span.set_attribute("job.id", job_data["id"])
            span.set_attribute("job.name", "bench-job")
            span.set_attribute("job.service", SERVICE)
            span.set_attribute("job.attempt", 1)
            return work(job_data)

    return Case(
        job=job,
        flush=provider.force_flush,
        shutdown=provider.shutdown,
        expected={"otlp.spans": plan.all_jobs},
        notes="span queue as long as the run (default 2048), or it drops spans",
    )
