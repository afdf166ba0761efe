"""Every call that a monitor answers, described once: what is sent, and what comes back.

`Client` and `AsyncClient` have a method for each of these, with the same arguments, that sends it
and returns the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from fiveobs.client._call import Call, quoted_id
from fiveobs.client._state_calls import remove_state, set_state, state, states
from fiveobs.client.answers import (
    AuditAnswer,
    BatchAnswer,
    ControlAnswer,
    DeliveriesAnswer,
    DependenciesAnswer,
    EmergencyStopAnswer,
    LogsAnswer,
    MetricsAnswer,
    NewSubscriptionAnswer,
    ProgressAnswer,
    ReplayAnswer,
    ReportAnswer,
    SubscriptionAnswer,
    SubscriptionsAnswer,
    TestAnswer,
    TimelineAnswer,
)
from fiveobs.exceptions import BadInputError

__all__ = [
    "Call",
    "audit",
    "deliveries",
    "dependencies",
    "emergency_stop",
    "enable_subscription",
    "job_path",
    "jobs",
    "logs",
    "metrics",
    "pause",
    "progress",
    "raw_logs",
    "remove_state",
    "replay",
    "report",
    "resume",
    "send_test",
    "set_state",
    "state",
    "states",
    "stop",
    "subscribe",
    "subscription",
    "subscription_path",
    "subscriptions",
    "timeline",
    "unsubscribe",
]


def job_path(job_id: str, *rest: str) -> str:
    """The path of one job, below its project's.

    Raises:
        BadInputError: It is no id.
    """
    if not job_id:
        raise BadInputError(f"{job_id!r} is no job id of a monitor; use the id of one job")
    return "/".join(("job", quoted_id(job_id), *rest))


def logs(
    job_id: str,
    *,
    level: str = "INFO",
    from_time: datetime | None = None,
    to_time: datetime | None = None,
    limit: int = 1_000,
) -> Call[LogsAnswer]:
    """The entries of a job's log, and how the job is doing.

    Args:
        job_id: The job.
        level: The least level: ``DEBUG``, ``INFO``, ``WARN`` or ``ERROR``.
        from_time: Only from then on; aware.
        to_time: Only until then; aware.
        limit: At most so many entries, 1 to 10,000: the first ones from ``from_time`` on, or else
            the last ones; the oldest first.
    """
    query = {"level": level, "fromTime": from_time, "toTime": to_time, "limit": limit}
    return Call(path=job_path(job_id, "logs"), answer=LogsAnswer, query=query)


def raw_logs(
    job_id: str,
    *,
    level: str = "INFO",
    from_time: datetime | None = None,
    to_time: datetime | None = None,
    limit: int = 1_000,
) -> Call[str]:
    """The entries of a job's log as text, a line each; arguments as of ``logs``."""
    query = {"level": level, "fromTime": from_time, "toTime": to_time, "limit": limit}
    query["format"] = "raw"
    return Call(path=job_path(job_id, "logs"), answer=str, query=query)


def progress(job_id: str) -> Call[ProgressAnswer]:
    """How far a job is, stage by stage, and when it is expected to end."""
    return Call(path=job_path(job_id, "progress"), answer=ProgressAnswer)


def timeline(
    job_id: str, *, include_sub_events: bool = False, granularity: str = "minutes"
) -> Call[TimelineAnswer]:
    """What happened to a job, in order, and what is expected to.

    Args:
        job_id: The job.
        include_sub_events: Log lines below ``WARN`` too.
        granularity: Progress once in ``seconds`` or ``minutes``, or ``major_events`` only.
    """
    query = {"includeSubEvents": include_sub_events, "granularity": granularity}
    return Call(path=job_path(job_id, "timeline"), answer=TimelineAnswer, query=query)


def metrics(
    job_id: str,
    *,
    interval: str = "5m",
    only: Iterable[str] | None = None,
    include_history: bool = False,
) -> Call[MetricsAnswer]:
    """What a job uses, how fast it works, and how that compares with past runs.

    Args:
        job_id: The job.
        interval: Of the history: ``1m``, ``5m`` or ``15m``.
        only: Some of ``cpu``, ``memory``, ``disk``, ``network`` and ``throughput``; ``None`` is
            all.
        include_history: The figures of each interval too.
    """
    query = {"interval": interval, "metrics": _listed(only), "includeHistory": include_history}
    return Call(path=job_path(job_id, "metrics"), answer=MetricsAnswer, query=query)


def dependencies(job_id: str) -> Call[DependenciesAnswer]:
    """Jobs and resources that a job needs, jobs that need it, and what keeps it waiting."""
    return Call(path=job_path(job_id, "dependencies"), answer=DependenciesAnswer)


def jobs(
    job_ids: Iterable[str] | None = None,
    *,
    status: str | None = None,
    submitted_by: str | None = None,
    include_metrics: bool = False,
    limit: int | None = None,
) -> Call[BatchAnswer]:
    """Many jobs in short, and how busy the project's workers are.

    Args:
        job_ids: Which jobs, one to 1,000; ``None`` is the newest ones.
        status: Only those in this status: ``Running``, ``Queued``, ``Completed``, ``Failed`` …
        submitted_by: Only those of this user.
        include_metrics: What running jobs use.
        limit: At most so many, where ``job_ids`` names none; ``None`` is the monitor's default.
    """
    query = {
        "jobIds": _ids(job_ids),
        "status": status,
        "submittedBy": submitted_by,
        "includeMetrics": include_metrics,
        "limit": limit,
    }
    return Call(path="tracking/batch", answer=BatchAnswer, query=query)


# --- subscriptions -----------------------------------------------------------------------------


def subscribe(
    webhook_url: str | None = None,
    *,
    events: Iterable[str],
    job_id: str | None = None,
    authentication: Mapping[str, str] | None = None,
    min_progress_increment: float | None = None,
    include_debug_events: bool | None = None,
    notify_on_errors: bool | None = None,
    expires_in_seconds: int | None = None,
) -> Call[NewSubscriptionAnswer]:
    """Have events sent to a webhook; the answer has the secret that verifies them, once.

    Args:
        webhook_url: Where to; ``None`` is a subscription that is read over a WebSocket.
        events: Which: ``stageStarted``, ``progressUpdate``, ``error``, ``jobCompleted`` …
        job_id: Of which job; ``None`` is every job of the project.
        authentication: How the receiver knows the sender: ``type`` (``bearer``, ``basic`` or
            ``apiKey``) and ``token``, and ``header`` for a key.
        min_progress_increment: Progress again only when it has grown by so many percent.
        include_debug_events: Events of level debug, too.
        notify_on_errors: Every event of level error and above, whatever ``events`` says.
        expires_in_seconds: How long it lasts; ``None`` is the monitor's default.
    """
    filters = {
        "minProgressIncrement": min_progress_increment,
        "includeDebugEvents": include_debug_events,
        "notifyOnErrors": notify_on_errors,
    }
    body = {
        "subscriptionType": "webhook" if webhook_url is not None else "websocket",
        "webhookUrl": webhook_url,
        "events": list(events),
        "filters": {name: value for name, value in filters.items() if value is not None},
        "authentication": None if authentication is None else dict(authentication),
        "expiresInSeconds": expires_in_seconds,
    }
    path = "subscribe" if job_id is None else job_path(job_id, "subscribe")
    return Call(method="POST", path=path, answer=NewSubscriptionAnswer, body=body)


def subscriptions(job_id: str | None = None, *, limit: int = 100) -> Call[SubscriptionsAnswer]:
    """Subscriptions of the project, or of one job, ended ones included; the newest first."""
    query = {"jobId": job_id, "limit": limit}
    return Call(path="subscriptions", answer=SubscriptionsAnswer, query=query)


def subscription(subscription_id: str) -> Call[SubscriptionAnswer]:
    """One subscription, and how many events it has been sent."""
    return Call(path=subscription_path(subscription_id), answer=SubscriptionAnswer)


def unsubscribe(subscription_id: str) -> Call[None]:
    """Send nothing any more, not even what was on its way, and forget the subscription."""
    path = subscription_path(subscription_id)
    return Call(method="DELETE", path=path, answer=type(None))


def deliveries(
    subscription_id: str,
    *,
    status: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> Call[DeliveriesAnswer]:
    """What was sent, what will be tried again, and what was given up and why.

    Args:
        subscription_id: The subscription.
        status: Only those that are ``pending``, ``delivered`` or ``dead``.
        before: Only those of earlier events: ``next`` of an earlier answer.
        limit: At most so many.
    """
    path = subscription_path(subscription_id, "deliveries")
    query = {"status": status, "before": before, "limit": limit}
    return Call(path=path, answer=DeliveriesAnswer, query=query)


def enable_subscription(subscription_id: str) -> Call[SubscriptionAnswer]:
    """Send again after it was disabled, beginning with what has happened since."""
    path = subscription_path(subscription_id, "enable")
    return Call(method="POST", path=path, answer=SubscriptionAnswer)


def replay(
    subscription_id: str,
    *,
    from_time: datetime | None = None,
    to_time: datetime | None = None,
    include_delivered: bool = False,
    delivery_ids: Iterable[int] | None = None,
) -> Call[ReplayAnswer]:
    """Deliver again what was given up.

    Args:
        subscription_id: The subscription.
        from_time: Only what was due from then on; aware.
        to_time: Only what was due until then; aware.
        include_delivered: What was delivered, too.
        delivery_ids: Only these of ``deliveries``; ``None`` is all.
    """
    body: dict[str, Any] = {"fromTime": from_time, "toTime": to_time}
    body["includeDelivered"] = include_delivered
    body["deliveryIds"] = None if delivery_ids is None else list(delivery_ids)
    path = subscription_path(subscription_id, "replay")
    return Call(method="POST", path=path, answer=ReplayAnswer, body=body)


def send_test(subscription_id: str) -> Call[TestAnswer]:
    """Send a made-up event now, once, and tell what became of it."""
    path = subscription_path(subscription_id, "test")
    return Call(method="POST", path=path, answer=TestAnswer)


def subscription_path(subscription_id: str, *rest: str) -> str:
    """The path of one subscription, below its project's.

    Raises:
        BadInputError: It is no id.
    """
    if subscription_id in ("", ".", "..") or "/" in subscription_id:
        raise BadInputError(f"{subscription_id!r} is no subscription id; use one as it was given")
    return "/".join(("subscriptions", quote(subscription_id, safe=""), *rest))


# --- control -----------------------------------------------------------------------------------


def stop(job_id: str, *, reason: str = "") -> Call[ControlAnswer]:
    """Ask a job to stop at its next checkpoint, or when it starts; ``reason`` is kept."""
    path = job_path(job_id, "stop")
    return Call(method="POST", path=path, answer=ControlAnswer, body={"reason": reason})


def pause(job_id: str, *, reason: str = "") -> Call[ControlAnswer]:
    """Ask a running job to wait at its next checkpoint; ``reason`` is kept."""
    path = job_path(job_id, "pause")
    return Call(method="POST", path=path, answer=ControlAnswer, body={"reason": reason})


def resume(job_id: str, *, reason: str = "") -> Call[ControlAnswer]:
    """Let a paused job go on; ``reason`` is kept."""
    path = job_path(job_id, "resume")
    return Call(method="POST", path=path, answer=ControlAnswer, body={"reason": reason})


def emergency_stop(
    *,
    reason: str = "",
    all_jobs: bool = False,
    job_names: Iterable[str] = (),
    services: Iterable[str] = (),
    statuses: Iterable[str] = (),
    job_ids: Iterable[str] = (),
    session_id: str | None = None,
    submitted_by: str | None = None,
) -> Call[EmergencyStopAnswer]:
    """Ask every job to stop that fits all that is given.

    Args:
        reason: Why, for the audit trail and the jobs.
        all_jobs: Every job of the project.
        job_names: Jobs of these names.
        services: Jobs of these services.
        statuses: Jobs that are ``Queued``, ``Running`` or ``Paused``.
        job_ids: These jobs.
        session_id: Jobs of this session.
        submitted_by: Jobs of this user.
    """
    lists = {"jobNames": job_names, "services": services, "statuses": statuses, "jobIds": job_ids}
    chosen: dict[str, Any] = {name: list(values) for name, values in lists.items() if values}
    chosen |= {"all": True} if all_jobs else {}
    chosen |= {"sessionId": session_id} if session_id is not None else {}
    chosen |= {"submittedBy": submitted_by} if submitted_by is not None else {}
    body = {"filter": chosen, "reason": reason}
    return Call(method="POST", path="emergency-stop", answer=EmergencyStopAnswer, body=body)


def audit(
    job_id: str | None = None, *, before: int | None = None, limit: int = 100
) -> Call[AuditAnswer]:
    """Who did what, when and why; the newest first.

    Args:
        job_id: Only what was done to this job.
        before: Only what came before this entry: ``next`` of an earlier answer.
        limit: At most so many.
    """
    query = {"jobId": job_id, "before": before, "limit": limit}
    return Call(path="audit", answer=AuditAnswer, query=query)


def report(
    *,
    from_time: datetime | None = None,
    to_time: datetime | None = None,
    job_name: str | None = None,
    service: str | None = None,
) -> Call[ReportAnswer]:
    """How the jobs of a period went, beside the period before.

    Args:
        from_time: Jobs that were first heard of from then on; aware. ``None`` is seven days before
            the end.
        to_time: And before then; aware. ``None`` is now.
        job_name: Only jobs of this name.
        service: And only of this service.
    """
    query = {"fromTime": from_time, "toTime": to_time, "jobName": job_name, "service": service}
    return Call(path="report", answer=ReportAnswer, query=query)


# --- how values are written --------------------------------------------------------------------


def _listed(values: Iterable[str] | None) -> str | None:
    found = _several(values)
    return None if found is None else ",".join(found)


def _ids(values: Iterable[str] | None) -> str | list[str] | None:
    """Ids with commas between them, or, where that could be misread, one parameter for each."""
    found = _several(values)
    if found is None or all("," not in each and each == each.strip() for each in found):
        return None if found is None else ",".join(found)
    return found if len(found) > 1 else found * 2  # repeated: else it would be taken apart


def _several(values: Iterable[str] | None) -> list[str] | None:
    if values is None:
        return None
    found = [values] if isinstance(values, str) else list(values)
    if not any(found):
        raise BadInputError("an empty list asks for nothing; leave it out to ask for all")
    return found
