"""One ddtrace span per job, sent to a local stand-in for the trace agent."""

from __future__ import annotations

from typing import Any

from bench._case import SERVICE, Case, Plan, work_for

REQUIRES = "ddtrace"


def environment(plan: Plan) -> dict[str, str]:
    """Point it at the sink and turn off everything but tracing."""
    off = (
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED",
        "DD_REMOTE_CONFIGURATION_ENABLED",
        "DD_RUNTIME_METRICS_ENABLED",
        "DD_TRACE_STARTUP_LOGS",
        "DD_TRACE_STATS_COMPUTATION_ENABLED",
        "DD_CRASHTRACKING_ENABLED",
        "DD_DYNAMIC_INSTRUMENTATION_ENABLED",
        "DD_APPSEC_ENABLED",
    )
    return {
        "DD_TRACE_AGENT_URL": plan.sinks["agent"]["endpoint"],
        "DD_SERVICE": SERVICE,
        "DD_TRACE_WRITER_BUFFER_SIZE_BYTES": str(64 * 1024 * 1024),
        **dict.fromkeys(off, "false"),
    }


def build(plan: Plan) -> Case:
    """Take the tracer that its import sets up."""
    from ddtrace.trace import tracer

    work = work_for(plan)

    def job(job_data: dict[str, Any]) -> dict[str, Any]:
        with tracer.trace("bench-job", service=SERVICE, resource="bench-job") as span:
            span.set_tag("job.id", job_data["id"])
            span.set_tag("job.attempt", "1")
            return work(job_data)

    return Case(
        job=job,
        flush=tracer.flush,
        shutdown=tracer.shutdown,
        expected={"agent.spans": plan.all_jobs},
        notes="writer buffer 64 MiB, so that no trace is dropped; telemetry and others off",
    )
