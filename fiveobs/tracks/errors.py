"""The errors track: one Sentry event for each failed job, with the job's ids and trace.

A Sentry client that the application has set up is used as it is. Otherwise, with a DSN, we set one
up that replaces no hook, and whose envelopes go into the journal: they survive a crash and an
outage, and a shipper posts them. Enrichment happens at capture; a job that succeeds pays nothing.

Hooks run in the jobs' threads. A forked child uses the same client; it finds the present pipeline.
"""

from __future__ import annotations

import base64
import random
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from fiveobs._context import current, present
from fiveobs._loading import loading
from fiveobs._report import report
from fiveobs.types import JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fiveobs._carrier import Link
    from fiveobs._config import Config
    from fiveobs._job import Job
    from fiveobs._redact import Redactor
    from fiveobs.tracks._envelope import EnvelopeSender

#: Set on an exception that has been sent, so that an enclosing job does not send it again.
_SENT = "__fiveobs_sent__"


class _Sent(NamedTuple):
    """That an exception was sent, and in which job."""

    #: ``None`` if the client has dropped it.
    event_id: str | None
    #: The spans of the job and of those around it.
    span_ids: tuple[str, ...]


class ErrorsTrack:
    """Sends what jobs raise.

    Args:
        config: Settings.
        base: Ids of the process: ``worker_id``, ``machine_id``.
        redactor: Applied to what we send through a client of ours.
        emit_envelope: Writes an envelope to the journal.
    """

    name = "errors"

    def __init__(
        self,
        config: Config,
        base: Mapping[str, Any],
        redactor: Redactor,
        emit_envelope: Callable[[dict[str, str]], None],
    ) -> None:
        self._rate = config.sentry_traces_sample_rate
        #: Not the module's functions: those belong to the application, which may have seeded them.
        self._random = random.Random().random
        self._base = base
        self._redactor = redactor
        self._transactions: dict[str, Any] = {}
        self._check_ins: dict[str, str] = {}
        #: Whether envelopes go through our journal.
        self.is_exporting = False
        if config.errors_configured or "sentry_sdk" in sys.modules:
            try:
                self._set_up(config, redactor, emit_envelope)
            except Exception as exc:  # whatever the SDK does, the other tracks must go on
                report("track errors", f"{type(exc).__name__}: {exc}")

    def _set_up(
        self,
        config: Config,
        redactor: Redactor,
        emit_envelope: Callable[[dict[str, str]], None],
    ) -> None:
        from fiveobs.tracks import _sentry

        if _sentry.application_client() is None and config.errors_configured:
            _sentry.set_up(config, redactor, emit_envelope)
            self.is_exporting = True
        _sentry.enrich_with(self._enrich)

    def keeps_breadcrumbs(self) -> bool:
        """Whether a job's log lines may be wanted for an error."""
        return self.is_exporting or _is_active()

    # --- hooks ---------------------------------------------------------------------------------

    def on_job_opening(self, job: Job, link: Link) -> None:
        """Begin a check-in and, for a share of the jobs, a transaction."""
        if job._spec.monitor is not None and _is_active():
            self._check_in(job)
        if self._rate and self._random() < self._rate and _is_active():
            from fiveobs.tracks import _sentry

            self._transactions[job.span_id] = _sentry.Transaction(job)

    def on_job_closing(
        self, job: Job, error: BaseException | None, data: Mapping[str, Any]
    ) -> None:
        """Send the error, and end what was begun, whatever the application's client makes of it."""
        try:
            if job.status is JobStatus.FAILED and error is not None and _is_active():
                job.sentry_event_id = self._capture(job, error)
        finally:
            if self._transactions or self._check_ins:
                self._end(job, error, data["duration_s"])

    def _end(self, job: Job, error: BaseException | None, duration_s: float) -> None:
        """End the transaction, then the check-in."""
        try:
            transaction = self._transactions.pop(job.span_id, None)
            if transaction is not None:
                transaction.end("ok" if error is None else "internal_error")
        finally:
            if self._check_ins:
                self._check_out(job, duration_s)

    def capture_lost(self, fields: Mapping[str, Any], context: Mapping[str, Any]) -> str | None:
        """Send that a job of another process is lost; the event's id, ``None`` if it is not sent.

        Args:
            fields: The ids of the job.
            context: What is known of it: ``message``, ``cause`` and more.
        """
        if not _is_active():
            return None
        from fiveobs.tracks import _sentry

        error = {"type": "JobLost", "value": context["message"]}
        trace = {"trace_id": fields.get("trace_id"), "span_id": fields.get("span_id"), "op": "job"}
        tags = {
            k: v for k, v in fields.items() if k.endswith("_id") or k in ("service", "job_name")
        }
        return _sentry.send(
            {
                "level": "error",
                "exception": {"values": [error]},
                "contexts": {"trace": trace, "job": self._redactor.clean(context)},
                "tags": {**tags, "attempt": str(fields.get("attempt", 1))},
                # Not by the message: it names the process, and each would be an issue of its own.
                "fingerprint": [
                    "fiveobs",
                    "lost",
                    *map(str, (fields.get("service"), fields.get("job_name"), context["cause"])),
                ],
            }
        )

    def close(self) -> None:
        """Let go of the SDK, if it was loaded."""
        if "fiveobs.tracks._sentry" in sys.modules:
            from fiveobs.tracks import _sentry

            _sentry.tear_down()

    def _capture(self, job: Job, error: BaseException) -> str | None:
        """Send the error, unless a job inside this one or the application here has sent it."""
        sent = _sent_of(error)
        if sent is not None and job.span_id in sent.span_ids:
            return sent.event_id
        from fiveobs.tracks import _sentry

        token = current.set(job)  # the end may come in another context than the job's
        try:
            event_id = _sentry.capture(error)
        finally:
            current.reset(token)
        _mark_sent(error, event_id, job)
        return event_id

    def _check_in(self, job: Job) -> None:
        from fiveobs.tracks import _sentry

        self._check_ins[job.span_id] = _sentry.check_in(job._spec.monitor, "in_progress")

    def _check_out(self, job: Job, duration_s: float) -> None:
        check_in_id = self._check_ins.pop(job.span_id, None)
        if check_in_id is not None:
            from fiveobs.tracks import _sentry

            status = "ok" if job.status is JobStatus.COMPLETED else "error"
            _sentry.check_in(job._spec.monitor, status, check_in_id, duration_s)

    # --- enrichment ----------------------------------------------------------------------------

    def _enrich(self, event: dict[str, Any], error: BaseException | None) -> None:
        """Put the current job into an event that is about to be sent."""
        job = present()
        if job is None or not job._fields or event.get("type") not in (None, "error"):
            return
        trace = {"trace_id": job.trace_id, "span_id": job.span_id, "op": "job"}
        if job.parent_span_id:
            trace["parent_span_id"] = job.parent_span_id
        contexts = event.setdefault("contexts", {})
        contexts["trace"] = {**contexts.get("trace", {}), **trace}
        contexts["job"] = self._redactor.clean(_job_context(job, error))
        tags = event.setdefault("tags", {})
        for key, value in {**self._base, **job._fields}.items():
            if key.endswith("_id") or key in ("service", "job_name"):
                tags.setdefault(key, value)
        tags.setdefault("attempt", str(job.attempt))
        _add_breadcrumbs(event, job)
        if error is not None:
            _mark_sent(error, event.get("event_id"), job)


class ErrorsDestination:
    """Posts the envelopes of journal lines to Sentry."""

    #: One envelope is one request.
    max_records = 1
    max_bytes = 1

    def __init__(self, config: Config) -> None:
        self._dsn = config.sentry_dsn or ""
        self._sender: EnvelopeSender | None = None

    def ship(self, lines: list[bytes], timeout_s: float, origin: Mapping[str, Any]) -> int:
        """Send each envelope; the number that were not usable."""
        import orjson

        if self._sender is None:
            with loading:
                from fiveobs.tracks._envelope import EnvelopeSender

                self._sender = EnvelopeSender(self._dsn)
        unusable = 0
        for line in lines:
            try:
                envelope = decoded(orjson.loads(line)["data"])
            except (ValueError, KeyError, TypeError):
                unusable += 1
                continue
            unusable += self._sender.send(envelope, timeout_s)
        return unusable

    def close(self) -> None:
        """Give up the connection."""
        if self._sender is not None:
            self._sender.close()


def encoded(envelope: bytes) -> dict[str, str]:
    """An envelope as event data: as text, or in base 64 if it has binary parts."""
    try:
        return {"envelope": envelope.decode()}
    except UnicodeDecodeError:
        return {"envelope_base64": base64.b64encode(envelope).decode()}


def decoded(data: Mapping[str, str]) -> bytes:
    """The envelope in event data."""
    if "envelope" in data:
        return data["envelope"].encode()
    return base64.b64decode(data["envelope_base64"])


def _is_active() -> bool:
    """Whether there is a Sentry client: ours, or one the application has set up meanwhile."""
    sdk = sys.modules.get("sentry_sdk")
    return sdk is not None and sdk.get_client().is_active()


def _sent_of(error: BaseException) -> _Sent | None:
    # Not getattr: an exception may have a __getattr__ of its own.
    sent = BaseException.__getattribute__(error, "__dict__").get(_SENT)
    return _Sent(*sent) if isinstance(sent, tuple) else None


def _mark_sent(error: BaseException, event_id: str | None, job: Job) -> None:
    """Note on the exception that it was sent; a plain tuple travels to other processes too."""
    span_ids: list[str] = []
    around: Job | None = job
    while around is not None:
        span_ids += (around.span_id, around.parent_span_id or "")
        around = around._parent
    # Not setattr: a frozen dataclass may be an exception.
    BaseException.__setattr__(error, _SENT, (event_id, tuple(filter(None, span_ids))))


def _job_context(job: Job, error: BaseException | None) -> dict[str, Any]:
    context = {
        "id": job.job_id,
        "name": job.name,
        "service": job.service,
        "attempt": job.attempt,
        "status": job.status.value,
        "stage": job.stage_of(error),
        "progress_percent": job.percent,
        "progress_message": job.progress_message or None,
        "duration_s": round(job.duration_s, 6),
        "queue": job.queue,
        "input_size_bytes": job.input_size_bytes,
        "attributes": job.attributes if job.has_attributes else None,
    }
    return {key: value for key, value in context.items() if value is not None}


def _add_breadcrumbs(event: dict[str, Any], job: Job) -> None:
    if not job.breadcrumbs:
        return
    crumbs = [
        {
            "timestamp": at_s,
            "type": "default",
            "category": "job",
            "level": "fatal" if level == "critical" else level,
            "message": message,
            "data": data or {},
        }
        for at_s, level, message, data in job.breadcrumbs
    ]
    try:
        present = event.get("breadcrumbs") or {}
        values = present.get("values", []) if isinstance(present, dict) else []
        event["breadcrumbs"] = {"values": [*values, *crumbs]}
    except Exception as exc:
        report("errors", f"breadcrumbs: {type(exc).__name__}: {exc}")
