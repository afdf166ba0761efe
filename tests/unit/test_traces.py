"""The traces track: which traces are kept, what a job's span says, and where it belongs."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

import fiveobs
from fiveobs import announce_job, bind_context, current_job, observe_job
from fiveobs.testing import Captured, FakeClock, capture

T, S = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
UNSAMPLED, SAMPLED = ({"traceparent": f"00-{T}-{S}-0{flag}"} for flag in "01")


def names(captured: Captured) -> list[str]:
    return sorted(span["name"] for span in captured.spans)


def run(name: str = "job", *, fails: bool = False, **options: Any) -> None:
    try:
        with observe_job(name, **options):
            if fails:
                raise ValueError("as asked")
    except ValueError:
        pass


def nothing_waits() -> bool:
    pipeline = fiveobs._runtime._pipeline
    assert pipeline is not None
    return pipeline.traces._waiting_count == 0


# --- sampling ---


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_normal_jobs_is_as_set(ratio: float) -> None:
    """Within what chance allows: six standard deviations."""
    runs = 400
    with capture(trace_sample_ratio=ratio, fluent_bit_disabled=True) as captured:
        for _ in range(runs):
            run()
        deviation = (runs * ratio * (1 - ratio)) ** 0.5
        assert abs(len(captured.spans) - runs * ratio) <= 6 * deviation
        assert nothing_waits()


@pytest.mark.parametrize("carrier", [None, UNSAMPLED, SAMPLED])
def test_failed_jobs_are_always_kept(carrier: Any) -> None:
    """Whatever the ratio is, and whatever the caller has decided."""
    with capture(trace_sample_ratio=0.0) as captured:
        for _ in range(20):
            run(fails=True, carrier=carrier)
        spans = captured.spans
        assert len(spans) == 20
        if carrier is not None:
            assert {(span["trace_id"], span["parent_span_id"]) for span in spans} == {(T, S)}


def test_normal_jobs_go_with_their_caller() -> None:
    """So that a trace is whole: kept under a sampled parent, not under one that is not."""
    with capture(trace_sample_ratio=0.0) as captured:
        run("kept", carrier=SAMPLED)
        run("not kept", carrier=UNSAMPLED)
        assert names(captured) == ["kept"]
    with capture(trace_sample_ratio=1.0) as captured:
        run("not kept", carrier=UNSAMPLED)
        assert names(captured) == []


def test_jobs_that_take_longer_than_usual_are_kept() -> None:
    """Once there is something usual; each kind of job has its own."""
    with capture(trace_sample_ratio=0.0, trace_slow_factor=3.0, clock=FakeClock()) as captured:

        def take(name: str, seconds: float) -> None:
            with observe_job(name):
                captured.clock.advance(seconds)

        take("first", 100)
        for _ in range(25):
            take("quick", 1)
            take("long", 50)
        take("long", 60)
        take("quick", 2)
        assert names(captured) == []
        take("quick", 60)
        assert names(captured) == ["quick"]


def test_slow_jobs_are_kept_under_an_unsampled_parent() -> None:
    """As failed ones are."""
    with capture(trace_sample_ratio=1.0, trace_slow_factor=3.0, clock=FakeClock()) as captured:
        for seconds in [1] * 25 + [100]:
            with observe_job("job", carrier=UNSAMPLED):
                captured.clock.advance(seconds)
        assert [round(span["duration_s"]) for span in captured.spans] == [100]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupted_jobs_are_normal_ones(error: type[BaseException]) -> None:
    """They are no failures: neither kept nor marked."""
    for ratio, expected in ((0.0, []), (1.0, ["UNSET"])):
        with capture(trace_sample_ratio=ratio) as captured:
            with pytest.raises(error), observe_job("job"):
                raise error
            assert [span["status"]["code"] for span in captured.spans] == expected


# --- spans that wait ---


def test_a_failure_anywhere_keeps_the_whole_trace() -> None:
    """Jobs, stages and the application's spans that ended before it are sent with it, once."""
    tracer = trace.get_tracer("app")
    with capture(trace_sample_ratio=0.0) as captured:
        with observe_job("outer", session_id="s") as outer, outer.stage("Loading", total=2) as part:
            part.advance(2)
            with observe_job("good", attributes={"a": 1}), tracer.start_as_current_span("query"):
                pass
            with pytest.raises(KeyError), outer.stage("bad part"):
                raise KeyError("row")
            assert captured.spans == []
            run("bad", fails=True)
            run("after")
        spans = {span["name"]: span for span in captured.spans}
        assert len(captured.spans) == len(spans) == 7
        assert nothing_waits()
    assert {span["trace_id"] for span in spans.values()} == {outer.trace_id}
    assert {span["attributes"]["session.id"] for span in spans.values()} == {"s"}
    good, loading = spans["good"], spans["Loading"]
    assert good["attributes"]["job.status"] == "completed"
    assert good["attributes"]["a"] == 1
    assert loading["attributes"]["job.stage"] == "Loading"
    assert spans["bad part"]["status"]["code"] == "ERROR"
    assert spans["bad part"]["attributes"]["error.type"] == "KeyError"
    assert spans["query"]["parent_span_id"] == good["span_id"]
    assert good["parent_span_id"] == loading["span_id"]
    assert loading["parent_span_id"] == outer.span_id


def test_spans_of_a_trace_that_is_not_kept_are_forgotten() -> None:
    """All of them, and the buffer is empty again."""
    tracer = trace.get_tracer("app")
    with capture(trace_sample_ratio=0.0) as captured:
        for _ in range(10):
            with observe_job("outer") as job, job.stage("part"):
                run("inner")
                with tracer.start_as_current_span("query"):
                    pass
        assert captured.spans == []
        assert nothing_waits()
        assert captured.accounting()["traces"].dropped == 0


def test_jobs_that_outlive_the_first_one_still_decide() -> None:
    """The part of a trace that runs here is decided with its last job."""
    with capture(trace_sample_ratio=0.0) as captured:
        for fails, kept in ((False, []), (True, ["late", "outer"])):
            go = threading.Event()

            def late(go: threading.Event = go, *, fails: bool = fails) -> None:
                with observe_job("late"):
                    go.wait(10)
                    if fails:
                        raise ValueError

            with observe_job("outer"):
                started = threading.Event()

                def begin(late: Any = late, started: threading.Event = started) -> None:
                    started.set()
                    try:
                        late()
                    except ValueError:
                        pass

                thread = threading.Thread(target=bind_context(begin))
                thread.start()
                while len(fiveobs._runtime._pipeline.active) < 2:  # type: ignore[union-attr]
                    started.wait(0.01)
            go.set()
            thread.join()
            assert names(captured) == kept
            assert nothing_waits()


def test_a_job_handed_on_within_the_process_shares_the_decision() -> None:
    """A queue that runs eagerly passes a carrier to itself."""
    with capture(trace_sample_ratio=0.0) as captured:
        with observe_job("outer") as outer, outer.stage("part"):
            run("inner", carrier=outer.carrier(), fails=True)
        assert names(captured) == ["inner", "outer", "part"]


def test_the_buffer_has_a_bound_and_what_it_cannot_hold_is_counted() -> None:
    """Dropped spans are in the sums; the failed job's own span is not among them."""
    with capture(trace_sample_ratio=0.0, trace_buffer_spans=3) as captured:
        with pytest.raises(ValueError), observe_job("outer") as job:
            for number in range(10):
                with job.stage(str(number)):
                    pass
            raise ValueError
        assert names(captured) == ["0", "1", "2", "outer"]
        sums = captured.accounting()["traces"]
        assert (sums.accepted, sums.delivered, sums.pending, sums.dropped) == (11, 4, 0, 7)
        assert any(problem.startswith("traces: ") for problem in captured.problems)
        with observe_job("outer") as job, job.stage("again"):
            run("inner", fails=True)
        assert names(captured)[-2:] == ["outer", "outer"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_decides_for_itself() -> None:
    """A job in the child of a process whose job runs: its spans do not wait for the parent's."""
    with capture(trace_sample_ratio=0.0), observe_job("parent"):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with observe_job("child") as job, job.stage("part"):
                    pass
                code = 0 if nothing_waits() else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- parents and links ---


def test_a_job_continues_its_callers_trace() -> None:
    """As a consumer; one without a carrier is internal and has no parent."""
    with capture() as captured:
        run("far", carrier=SAMPLED)
        run("near")
        far, near = captured.spans
        assert (far["trace_id"], far["parent_span_id"], far["kind"]) == (T, S, "CONSUMER")
        assert (near["parent_span_id"], near["kind"], near["links"]) == (None, "INTERNAL", [])


def test_with_link_a_job_begins_a_trace_of_its_own() -> None:
    """Linked to the caller, also where another job is around it."""
    with capture(trace_parent="link") as captured:
        with observe_job("outer"):
            run("inner", carrier=SAMPLED)
            run("nested")
        inner, nested, outer = captured.spans
        assert inner["trace_id"] not in (T, outer["trace_id"])
        assert inner["parent_span_id"] is None
        assert inner["links"] == [{"trace_id": T, "span_id": S}]
        assert inner["kind"] == "CONSUMER"
        assert nested["trace_id"] == outer["trace_id"]


def test_an_announced_job_is_in_the_trace_of_the_announcer() -> None:
    """The worker's span is a child of the job that announced it."""
    with capture() as captured:
        with observe_job("producer") as producer:
            headers = announce_job("consumer")
        run("consumer", carrier=headers)
        spans = {span["name"]: span for span in captured.spans}
        assert spans["consumer"]["trace_id"] == producer.trace_id
        assert spans["consumer"]["parent_span_id"] == producer.span_id


def test_a_job_announced_outside_any_span_begins_its_trace() -> None:
    """The span id of its traceparent is nobody's: as a parent it would make every trace partial."""
    with capture() as captured:
        headers = announce_job("consumer")
        run("consumer", carrier=headers)
        (span,) = captured.spans
        assert span["trace_id"] == headers["traceparent"][3:35]
        assert span["parent_span_id"] is None
        assert span["kind"] == "CONSUMER"


def test_whoever_passes_an_announced_job_on_becomes_its_parent() -> None:
    """A queue's own instrumentation puts its span into the traceparent, and that one exists."""
    with capture() as captured:
        headers = announce_job("consumer")
        headers["traceparent"] = f"{headers['traceparent'][:36]}{S}-01"
        run("consumer", carrier=headers)
        (span,) = captured.spans
        assert span["trace_id"] == headers["traceparent"][3:35]
        assert span["parent_span_id"] == S


# --- the current span ---


def test_what_is_said_through_opentelemetry_is_on_the_exported_span() -> None:
    """Attributes, events, exceptions, links, status and name, on jobs and stages."""
    with capture() as captured:
        with observe_job("job") as job:
            for block in (None, job.stage("part")):
                if block is not None:
                    block.__enter__()
                span = trace.get_current_span()
                assert span.is_recording()
                span.set_attribute("a", 1)
                span.set_attributes({"b": [1, 2], "c": "ü"})
                span.add_event("reached", {"at": 0.5}, timestamp=123)
                span.record_exception(KeyError("row"), {"handled": True})
                context = SpanContext(int(T, 16), int(S, 16), True, TraceFlags(1))
                span.add_link(context)
                span.update_name("renamed")
                span.set_status(Status(StatusCode.ERROR, "not quite"))
                if block is not None:
                    block.__exit__(None, None, None)
        assert not trace.get_current_span().is_recording()
        assert len(captured.spans) == 2
        for found in captured.spans:
            assert {"a": 1, "b": [1, 2], "c": "ü"}.items() <= found["attributes"].items()
            reached, exception = found["events"]
            assert reached == {"name": "reached", "time_ns": 123, "attributes": {"at": 0.5}}
            assert exception["attributes"]["exception.type"] == "KeyError"
            assert exception["attributes"]["exception.message"] == "'row'"
            assert exception["attributes"]["handled"] is True
            assert "KeyError" in exception["attributes"]["exception.stacktrace"]
            assert found["links"] == [{"trace_id": T, "span_id": S}]
            assert (found["name"], found["status"]) == (
                "renamed",
                {"code": "ERROR", "message": "not quite"},
            )


def test_the_current_span_knows_its_ids() -> None:
    """As the job has them; whoever propagates by OpenTelemetry sends the same."""
    with capture(), observe_job("job") as job:
        context = trace.get_current_span().get_span_context()
        assert f"{context.trace_id:032x}" == job.trace_id
        assert f"{context.span_id:016x}" == job.span_id
        assert context.trace_flags.sampled is job.trace_sampled is True


def test_a_status_is_as_opentelemetry_has_it() -> None:
    """OK is final, UNSET says nothing; a job that raises has an error all the same."""
    with capture() as captured:
        with observe_job("ok"):
            span = trace.get_current_span()
            span.set_status(StatusCode.OK, "ignored")
            span.set_status(StatusCode.ERROR, "too late")
        with observe_job("unset"):
            span = trace.get_current_span()
            span.set_status(StatusCode.ERROR, "first")
            span.set_status(StatusCode.UNSET)
        with pytest.raises(ValueError), observe_job("raised"):
            trace.get_current_span().set_status(StatusCode.OK)
            raise ValueError("bad")
        assert [span["status"] for span in captured.spans] == [
            {"code": "OK", "message": ""},
            {"code": "ERROR", "message": "first"},
            {"code": "ERROR", "message": "bad"},
        ]


def test_an_exception_that_cannot_be_shown_can_be_recorded() -> None:
    """What the application hands over does not raise back at it."""

    class HostileError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("hostile")

    with capture() as captured:
        with observe_job("job"):
            trace.get_current_span().record_exception(HostileError())
        assert captured.spans[0]["events"][0]["name"] == "exception"


def test_secrets_said_on_a_span_are_redacted() -> None:
    """On a span with nothing else on it too, and in names of stages."""
    secret = "hunter2hunter2"
    with capture() as captured:
        calls: tuple[Callable[[Any], Any], ...] = (
            lambda span: span.set_attribute("password", secret),
            lambda span: span.add_event(f"password={secret}", {"api_key": secret}),
            lambda span: span.set_status(StatusCode.ERROR, f"password={secret}"),
            lambda span: span.update_name(f"login password={secret}"),
            lambda span: span.record_exception(ValueError(f"password={secret}")),
        )
        for call in calls:
            with observe_job("job"):
                call(trace.get_current_span())
            with observe_job("outer"), observe_job("inner"):
                call(trace.get_current_span())
        with observe_job("job") as job, job.stage(f"password={secret}"):
            pass
        assert len(captured.spans) == 17
        assert secret not in repr(captured.spans)


def test_what_a_span_keeps_has_bounds() -> None:
    """As in the OpenTelemetry SDK: 128 attributes, events and links."""
    context = SpanContext(int(T, 16), int(S, 16), is_remote=True)
    with capture() as captured:
        with observe_job("job"):
            span = trace.get_current_span()
            for number in range(200):
                span.set_attribute(str(number), number)
                span.add_event(str(number))
                span.add_link(context)
            span.set_attribute("0", "again")
        (found,) = captured.spans
        assert found["attributes"]["0"] == "again"
        assert len([key for key in found["attributes"] if key.isdecimal()]) == 128
        assert len(found["events"]) == len(found["links"]) == 128


@pytest.mark.parametrize(
    "value", [2**70, -(2**63) - 1, {"a": [1, None]}, b"\xff", object(), "\ud800"]
)
def test_no_value_costs_the_span(value: Any) -> None:
    """Also those that OpenTelemetry does not allow."""
    with capture() as captured:
        with observe_job("job"):
            trace.get_current_span().set_attribute("value", value)
        assert captured.spans[0]["attributes"]["value"] is not None
        assert captured.accounting()["traces"].dropped == 0


# --- the application's provider ---


class Application:
    """A provider as an application sets it up, and what it exported."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> dict[str, Any]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    found = Application()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", found.provider)
    yield found
    found.provider.shutdown()


def span_id(span: Any) -> str:
    return f"{span.context.span_id:016x}"


def test_the_applications_provider_makes_our_spans(application: Application) -> None:
    """Jobs, stages and its own spans in one tree, with the ids that we report."""
    tracer = application.provider.get_tracer("app")
    with capture() as captured:
        with observe_job("job", session_id="s", queue="q", attributes={"a": 1, "n": None}) as job:
            assert f"{trace.get_current_span().get_span_context().span_id:016x}" == job.span_id
            with job.stage("part"), tracer.start_as_current_span("query"):
                pass
            thread = threading.Thread(
                target=lambda: job.stage("far").__enter__().__exit__(*[None] * 3)
            )
            thread.start()
            thread.join()
        assert captured.job().trace_id == job.trace_id
        assert captured.spans == []
    spans = application.spans
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {job.trace_id}
    assert span_id(spans["job"]) == job.span_id
    assert f"{spans['part'].parent.span_id:016x}" == job.span_id
    assert f"{spans['far'].parent.span_id:016x}" == job.span_id
    assert f"{spans['query'].parent.span_id:016x}" == span_id(spans["part"])
    expected = {
        "job.id": job.job_id,
        "job.status": "completed",
        "session.id": "s",
        "worker.id": "test-worker",
        "messaging.destination.name": "q",
        "a": 1,
    }
    assert expected.items() <= dict(spans["job"].attributes).items()
    assert "n" not in spans["job"].attributes


def test_the_applications_span_shows_the_failure(application: Application) -> None:
    """Status, type, exception and the id of the Sentry event; a message that raises is no harm."""

    class HostileError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("hostile")

    with capture() as captured:
        run(fails=True)
        with pytest.raises(HostileError), observe_job("hostile"):
            raise HostileError
        failed = captured.jobs[0].last
        assert failed is not None
    span = application.spans["job"]
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "as asked")
    assert span.attributes["error.type"] == "ValueError"
    assert span.attributes["sentry.event_id"] == failed.data["sentry_event_id"]
    assert span.events[0].name == "exception"
    assert "hostile" in application.spans


def test_the_applications_provider_continues_and_links(application: Application) -> None:
    """As our own spans do."""
    with capture():
        run("far", carrier=SAMPLED)
    with capture(trace_parent="link"), observe_job("outer") as outer:
        run("linked", carrier=SAMPLED)
    far, linked = application.spans["far"], application.spans["linked"]
    assert (f"{far.context.trace_id:032x}", f"{far.parent.span_id:016x}") == (T, S)
    assert far.kind is trace.SpanKind.CONSUMER
    assert linked.parent is None
    assert f"{linked.context.trace_id:032x}" not in (T, outer.trace_id)
    assert f"{linked.links[0].context.trace_id:032x}" == T


def test_the_applications_sampler_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it drops is dropped; jobs have ids all the same, and say that it is not sampled."""
    found = Application(sampler=ALWAYS_OFF)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", found.provider)
    with capture(), observe_job("job") as job:
        assert len(job.trace_id) == 32
        assert job.carrier()["traceparent"].endswith("-00")
        assert current_job() is job
    assert found.spans == {}


def test_the_applications_provider_is_not_shut_down(application: Application) -> None:
    """It goes on after we have ended."""
    with capture():
        run()
        fiveobs.shutdown()
    with application.provider.get_tracer("app").start_as_current_span("after"):
        pass
    assert {"job", "after"} <= application.spans.keys()


def test_jobs_leave_nothing_to_the_garbage_collection() -> None:
    """A job and its span do not keep each other: collections would stall the application."""
    with capture(trace_sample_ratio=1.0, fluent_bit_disabled=True):
        run()
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                run()
            assert gc.collect() < 50
        finally:
            gc.enable()
