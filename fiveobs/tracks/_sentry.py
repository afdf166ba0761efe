"""What the errors track does with the Sentry SDK; loaded only where there is a use for it.

The client that we set up has no default integrations: it replaces no ``sys`` hook, patches no
logger and no HTTP client. Its transport writes envelopes to the journal of the process's present
pipeline, also in a forked child.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.crons import capture_checkin
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.scope import add_global_event_processor
from sentry_sdk.transport import Transport
from sentry_sdk.utils import event_from_exception

from fiveobs._failure import error_type, message_of, stack_of
from fiveobs._report import report
from fiveobs.tracks.errors import encoded

if TYPE_CHECKING:
    from sentry_sdk.client import BaseClient
    from sentry_sdk.envelope import Envelope

    from fiveobs._config import Config
    from fiveobs._job import Job
    from fiveobs._redact import Redactor

#: A larger envelope is dropped: Sentry refuses it anyway.
_MAX_ENVELOPE_BYTES = 40 * 1024 * 1024

_own_client: BaseClient | None = None
_emit_envelope: Callable[[dict[str, str]], None] | None = None
#: The job failed of it: nobody has handled it, which is what Sentry shows first.
_MECHANISM = {"type": "fiveobs", "handled": False}
_redactor: Redactor | None = None
_enrich: Callable[[dict[str, Any], BaseException | None], None] | None = None
_is_registered = False
_is_rehearsed = False


def application_client() -> BaseClient | None:
    """The client that the application has set up; ``None`` if it has none."""
    client = sentry_sdk.get_client()
    return client if client.is_active() and client is not _own_client else None


def set_up(
    config: Config, redactor: Redactor, emit_envelope: Callable[[dict[str, str]], None]
) -> None:
    """Make a client whose envelopes go to ``emit_envelope``."""
    global _own_client, _emit_envelope, _redactor
    with warnings.catch_warnings():  # it calls an option of its own deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        _init(config)
    _own_client = sentry_sdk.get_client()
    if not _is_rehearsed:  # a forked child need not do it again
        _rehearse(_own_client)
    _emit_envelope, _redactor = emit_envelope, redactor


def _init(config: Config) -> None:
    sentry_sdk.init(
        dsn=config.sentry_dsn,
        environment=config.sentry_environment,
        release=config.sentry_release,
        traces_sample_rate=config.sentry_traces_sample_rate or None,
        profiles_sample_rate=config.sentry_profiles_sample_rate or None,
        transport=JournalTransport,
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        include_local_variables=False,
        enable_backpressure_handling=False,  # watches a transport that sends; ours only writes
        before_send=_redacted,
        before_send_transaction=_redacted_transaction,
        server_name=config.machine_id,
    )


def _rehearse(client: BaseClient) -> None:
    """Make an event and drop it, unseen by the application.

    The first takes twice the time, and the first job that fails would wait for that.
    """
    global _is_rehearsed
    _is_rehearsed = True
    with contextlib.suppress(Exception):  # a job's own event is none the worse for it
        try:
            raise RuntimeError  # noqa: TRY301 - an event has a frame
        except RuntimeError as exc:
            event, hint = event_from_exception(exc, client_options=client.options)
            stack_of(exc)
        client.capture_event(event, hint=hint)


def tear_down() -> None:
    """Let go of the pipeline; a client that we set up is ended."""
    global _own_client, _emit_envelope, _enrich
    own, _own_client = _own_client, None
    _emit_envelope = _enrich = None
    if own is not None and sentry_sdk.get_client() is own:
        sentry_sdk.get_global_scope().set_client(None)


class JournalTransport(Transport):
    """Writes envelopes to the journal; the errors track's shipper posts them."""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Take one envelope."""
        content = envelope.serialize()
        if len(content) > _MAX_ENVELOPE_BYTES:
            report("errors", f"an envelope of {len(content)} bytes is too large and was dropped")
        elif _emit_envelope is not None:
            _emit_envelope(encoded(content))


def enrich_with(enrich: Callable[[dict[str, Any], BaseException | None], None]) -> None:
    """Have every event pass ``enrich`` before it is sent, by whatever client."""
    global _enrich, _is_registered
    _enrich = enrich
    if not _is_registered:
        _is_registered = True
        add_global_event_processor(_process)


def _process(event: Any, hint: Any) -> Any:
    try:
        if _enrich is not None:
            _enrich(event, ((hint or {}).get("exc_info") or (None, None))[1])
    except Exception as exc:
        report("errors", f"an event could not be enriched: {type(exc).__name__}: {exc}")
    return event


def _redacted(event: Any, hint: Any) -> Any:
    """Take secrets out of what an event shows; local variables are not collected at all."""
    if _redactor is None:
        return event
    for error in (event.get("exception") or {}).get("values") or ():
        if isinstance(error.get("value"), str):
            error["value"] = _redactor.text(error["value"])
    if isinstance(event.get("message"), str):
        event["message"] = _redactor.text(event["message"])
    for part in ("logentry", "extra", "breadcrumbs", "request", "user"):
        if event.get(part):
            event[part] = _redactor.clean(event[part])
    return event


def _redacted_transaction(event: Any, hint: Any) -> Any:
    """Take secrets out of what spans say."""
    if _redactor is None:
        return event
    for span in event.get("spans") or ():
        for part in ("description", "data", "tags"):
            if span.get(part):
                span[part] = _redactor.clean(span[part])
    return event


def capture(error: BaseException) -> str | None:
    """Send an exception through the present client; its event's id, or ``None`` if dropped.

    Whether it was sent already is decided by job, not by exception as the SDK does: two jobs that
    raise one and the same object have both failed.
    """
    DedupeIntegration.reset_last_seen()
    try:
        event, hint = event_from_exception(
            error, client_options=sentry_sdk.get_client().options, mechanism=dict(_MECHANISM)
        )
        return sentry_sdk.capture_event(event, hint=hint)
    except Exception:  # the SDK looks at attributes of the exception, and that may raise
        value: Any = {"type": error_type(error), "value": message_of(error)}
        value["mechanism"] = dict(_MECHANISM)
        return sentry_sdk.capture_event({"level": "error", "exception": {"values": [value]}})


def send(event: Any) -> str | None:
    """Send an event through the present client; its id, or ``None`` if it was dropped."""
    return sentry_sdk.capture_event(event)


class Transaction:
    """A running transaction with the job's ids, in a scope of its own.

    Tasks of one event loop share their scope, and would take each other's transaction for theirs.
    """

    def __init__(self, job: Job) -> None:
        self._scope = sentry_sdk.new_scope()
        self._scope.__enter__()
        try:
            self._transaction = _start_transaction(job).__enter__()
        except BaseException:
            self._scope.__exit__(None, None, None)
            raise

    def end(self, status: str) -> None:
        """Send it; the scope ends whatever the application's client makes of it."""
        try:
            self._transaction.set_status(status)
            self._transaction.__exit__(None, None, None)
        finally:
            self._scope.__exit__(None, None, None)


def _start_transaction(job: Job) -> Any:
    parent: Any = {"parent_span_id": job.parent_span_id} if job.parent_span_id else {}
    transaction = sentry_sdk.start_transaction(
        op="queue.process" if job.queue else "job",
        name=job.name,
        trace_id=job.trace_id,
        span_id=job.span_id,
        **parent,
        sampled=True,
        source="task",
    )
    transaction.set_tag("job_id", job.job_id)
    return transaction


def check_in(
    monitor: str | Mapping[str, Any] | None,
    status: str,
    check_in_id: str | None = None,
    duration_s: float | None = None,
) -> str:
    """Send a cron check-in; its id."""
    settings = {"slug": monitor} if isinstance(monitor, str) else dict(monitor or {})
    slug = str(settings.pop("slug", ""))
    sent = capture_checkin(
        monitor_slug=slug,
        check_in_id=check_in_id,
        status=status,
        duration=duration_s,
        monitor_config=settings or None,  # type: ignore[arg-type]
    )
    return str(sent or "")
