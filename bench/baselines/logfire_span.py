"""One logfire span per job, batch-exported over OTLP/HTTP to the sink."""

from __future__ import annotations

from typing import Any

from bench._case import SERVICE, Case, Plan, work_for

REQUIRES = "logfire"


def environment(plan: Plan) -> dict[str, str]:
    """Nothing to set: the code below names everything."""
    del plan
    return {}


def build(plan: Plan) -> Case:
    """Configure logfire to send to the sink and nowhere else."""
    import logfire
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(f"{plan.sinks['otlp']['endpoint']}/v1/traces")
    logfire.configure(
        send_to_logfire=False,
        console=False,
        service_name=SERVICE,
        additional_span_processors=[BatchSpanProcessor(exporter, max_queue_size=plan.all_jobs)],
    )
    work = work_for(plan)

    def job(job_data: dict[str, Any]) -> dict[str, Any]:
        with logfire.span("bench-job", job_id=job_data["id"], job_service=SERVICE, attempt=1):
            return work(job_data)

    return Case(
        job=job,
        flush=logfire.force_flush,
        shutdown=logfire.shutdown,
        expected={"otlp.spans": plan.all_jobs},
        notes="span queue as long as the run (default 2048), or it drops spans",
    )
