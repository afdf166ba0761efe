"""The ``TracerProvider`` that we set up where the application has none."""

from __future__ import annotations

# A provider's fork hook uses an executor. Hooks run in the order of registration, so the executor's
# own, which frees its lock in the child, must be there first: otherwise the child waits for ever.
import concurrent.futures.thread  # noqa: F401
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, get_current_span

from fiveobs._context import current
from fiveobs._report import report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link
    from opentelemetry.trace.span import TraceState
    from opentelemetry.util.types import Attributes

    from fiveobs._config import Config

#: OTLP numbers of span kinds.
_KINDS = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}


class _OurIds(IdGenerator):
    """Ids from our own source: an application that seeds ``random`` does not make them repeat."""

    def __init__(self, minted: Callable[[str], str]) -> None:
        self._minted = minted

    def generate_span_id(self) -> int:
        return int(self._minted("span_id"), 16)

    def generate_trace_id(self) -> int:
        return int(self._minted("trace_id"), 16)


class JobEndSampler(Sampler):
    """Records every span in a job; the job's end decides what is exported.

    Outside jobs the parent's decision holds, and a new trace is sampled by its id.
    """

    def __init__(self, is_in_share: Callable[[str], bool]) -> None:
        self._is_in_share = is_in_share

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide for one span."""
        parent = get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            is_sampled = parent.trace_flags.sampled
        else:
            is_sampled = self._is_in_share(f"{trace_id:032x}")
        if is_sampled:
            decision = Decision.RECORD_AND_SAMPLE
        else:
            decision = Decision.RECORD_ONLY if current.get() is not None else Decision.DROP
        return SamplingResult(decision, attributes, parent.trace_state)

    def get_description(self) -> str:
        """Shown in the SDK's ``repr``."""
        return "fiveobs.JobEndSampler"


class _Collect(SpanProcessor):
    """Hands ended spans to the traces track; never raises into the application's code."""

    def __init__(
        self,
        started: Callable[[int], None],
        ended: Callable[[int, bool, Callable[[], dict[str, Any]]], None],
    ) -> None:
        self._started = started
        self._ended = ended

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note which job the span belongs to."""
        try:
            self._started(span.get_span_context().span_id)
        except Exception as exc:
            report("traces", f"{type(exc).__name__}: {exc}")

    def on_end(self, span: ReadableSpan) -> None:
        """Pass the span on."""
        try:
            context = span.get_span_context()
            if context is not None:
                is_sampled = context.trace_flags.sampled
                self._ended(context.span_id, is_sampled, lambda: span_record(span))
        except Exception as exc:
            report("traces", f"{type(exc).__name__}: {exc}")


def make_provider(
    config: Config,
    minted: Callable[[str], str],
    started: Callable[[int], None],
    ended: Callable[[int, bool, Callable[[], dict[str, Any]]], None],
    is_in_share: Callable[[str], bool],
) -> TracerProvider:
    """A provider whose spans go to ``ended``; it has no thread and nothing to shut down."""
    provider = TracerProvider(
        sampler=JobEndSampler(is_in_share),
        resource=Resource({**config.resource_attributes, "service.name": config.service}),
        id_generator=_OurIds(minted),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(_Collect(started, ended))
    return provider


def span_record(span: ReadableSpan) -> dict[str, Any]:
    """An ended span as it stands in the journal."""
    context = span.get_span_context()
    assert context is not None  # noqa: S101 - an SDK span has one
    record: dict[str, Any] = {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "name": span.name,
        "kind": _KINDS[span.kind],
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "attributes": _plain(span.attributes),
        "scope": span.instrumentation_scope.name if span.instrumentation_scope else "",
    }
    if span.parent is not None:
        record["parent_span_id"] = f"{span.parent.span_id:016x}"
    if span.events:
        record["events"] = [
            {"name": e.name, "time_ns": e.timestamp, "attributes": _plain(e.attributes)}
            for e in span.events
        ]
    if span.links:
        ids = [link.context for link in span.links]
        record["links"] = [(f"{c.trace_id:032x}", f"{c.span_id:016x}") for c in ids]
    if span.status.status_code.value:
        code, message = span.status.status_code.value, span.status.description or ""
        record["status"] = {"code": code, "message": message}
    return record


def _plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in (attributes or {}).items()}
