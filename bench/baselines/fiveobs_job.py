"""``observe_job`` around the same job, in four settings.

``fiveobs`` has every destination set, with the variables that the specification names;
``fiveobs-sampled-out`` also keeps none of the normal traces; ``fiveobs-unconfigured`` has nothing
but a journal; ``fiveobs-two-logs`` also writes two log lines per job, as ``hand-wired`` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench._case import SERVICE, Case, Job, Plan, work_for

REQUIRES = "fiveobs"
#: The slowest drain that is still waited for; what is undelivered then is reported as lost.
_FLUSH_TIMEOUT_S = 60.0
#: Events per job: started and completed; two more with the log lines.
_EVENTS_PER_JOB = 2


def environment(plan: Plan) -> dict[str, str]:
    """The specification's variables, pointing at the sinks."""
    home = {"FIVEOBS_HOME": plan.home}
    if plan.case == "fiveobs-unconfigured":
        return home
    is_grpc = plan.otlp == "grpc"
    logs, otlp = plan.sinks[plan.logs_sink], plan.sinks["otlp"]
    variables = {
        **home,
        "FLUENT_BIT_HOST": logs["host"],
        "FLUENT_BIT_PORT": str(logs["port"]),
        "FLUENT_BIT_PROTOCOL": plan.logs,
        "DISABLE_FLUENT_BIT_LOGGING": "false",
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp["grpc_endpoint" if is_grpc else "endpoint"],
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if is_grpc else "http/protobuf",
        "OTEL_SERVICE_NAME": SERVICE,
        "OTEL_METRICS_EXPORTER": "otlp",
        "METRICS_COLLECTION_INTERVAL": "30s",
        "SENTRY_DSN": plan.sinks["sentry"]["dsn"],
        "SENTRY_ENVIRONMENT": "production",
        "MACHINE_ID": "machine-bench-01",
        "WORKER_ID": "worker-bench-01",
        "CONNECTOR_LOGGING_ENABLED": "true",
    }
    if plan.case == "fiveobs-sampled-out":
        variables["FIVEOBS_TRACE_SAMPLE_RATIO"] = "0"
    return variables


def build(plan: Plan) -> Case:
    """Decorate the job."""
    from fiveobs import configure, flush, observe_job, shutdown

    configure()
    job = observe_job("bench-job", service=SERVICE)(_body(plan))
    return Case(
        job=job,
        flush=lambda: flush(timeout_s=_FLUSH_TIMEOUT_S),
        shutdown=lambda: shutdown(timeout_s=5.0),
        expected=_expected(plan),
        local_counts=lambda: {"journal_lines": _journal_lines(plan)},
    )


def _body(plan: Plan) -> Job:
    work = work_for(plan)
    if plan.case != "fiveobs-two-logs":
        return work
    from fiveobs import current_job

    def with_two_lines(job_data: dict[str, Any]) -> dict[str, Any]:
        running = current_job()
        assert running is not None
        running.log.info("job started")
        result = work(job_data)
        running.log.info("job completed")
        return result

    return with_two_lines


def _journal_lines(plan: Plan) -> int:
    """Lines of jobs on disk; only a process that ships nothing keeps all of them."""
    segments = (Path(plan.home) / "journal").glob("*.log")
    return sum(segment.read_bytes().count(b'"event_type":"job.') for segment in segments)


def _expected(plan: Plan) -> dict[str, float]:
    if plan.case == "fiveobs-unconfigured":
        return {"local.journal_lines": plan.all_jobs * _EVENTS_PER_JOB}
    lines = _EVENTS_PER_JOB + (2 if plan.case == "fiveobs-two-logs" else 0)
    expected: dict[str, float] = {
        f"{plan.logs_sink}.records": plan.all_jobs * lines,
        "otlp.metric_totals.jobs.processed": plan.all_jobs,
        "otlp.metric_totals.job.duration": plan.all_jobs,
    }
    if plan.case != "fiveobs-sampled-out":
        expected["otlp.spans"] = plan.all_jobs
    if plan.fail_every:
        expected["sentry.items.event"] = plan.all_jobs // plan.fail_every
    return expected
