"""The client's calls against a real monitor, and its answers against the OpenAPI document."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from fiveobs.client import (
    Answer,
    AnswerError,
    AsyncClient,
    BadInputError,
    BadRequestError,
    Client,
    ConfigError,
    ConflictError,
    ForbiddenError,
    MonitorError,
    NotFoundError,
    ProblemError,
    ServerError,
    TooManyError,
    UnauthorizedError,
    UnreachableError,
    _calls,
    _retention_calls,
    _rule_calls,
    answers,
)
from fiveobs.client._calls import Call
from fiveobs.client._place import find_place
from fiveobs.client._reading import field_name, read
from fiveobs.exceptions import FiveobsError
from tests.support import tracked_jobs
from tests.support.monitors import Monitor, monitor
from tests.support.tracked_jobs import CURRENT, FAILED, PREREQUISITE

ROOT = Path(__file__).parents[3]
BASE = "/api/{tenantId}/{projectId}/execution/"
EXAMPLES = json.loads((ROOT / "tests/support/tracking_examples.json").read_text(encoding="utf-8"))
RULE = {"name": "r", "on": "job.failed", "then": [{"emit": {"type": "log"}}]}
#: Every call, and what it is made with here: each by its name in `_calls`.
CALLS: dict[str, Call[Any]] = {
    "logs": _calls.logs(CURRENT),
    "progress": _calls.progress(CURRENT),
    "timeline": _calls.timeline(CURRENT, include_sub_events=True),
    "metrics": _calls.metrics(CURRENT, include_history=True),
    "dependencies": _calls.dependencies(CURRENT),
    "jobs": _calls.jobs(include_metrics=True),
    "subscriptions": _calls.subscriptions(),
    "audit": _calls.audit(),
    "report": _calls.report(to_time=datetime(2026, 1, 3, tzinfo=UTC)),
    "states": _calls.states(),
    "retention": _retention_calls.retention(),
    "history": _retention_calls.history(job_name="none"),
    "rules": _rule_calls.rules(),
}
#: And those that change something, or that need what one of them has made.
CHANGES: dict[str, Call[Any]] = {
    "subscribe": _calls.subscribe("https://example.com", events=["error"], job_id=CURRENT),
    "subscription": _calls.subscription("sub-1"),
    "unsubscribe": _calls.unsubscribe("sub-1"),
    "deliveries": _calls.deliveries("sub-1"),
    "enable_subscription": _calls.enable_subscription("sub-1"),
    "replay": _calls.replay("sub-1"),
    "send_test": _calls.send_test("sub-1"),
    "stop": _calls.stop(CURRENT),
    "pause": _calls.pause(CURRENT),
    "resume": _calls.resume(CURRENT),
    "emergency_stop": _calls.emergency_stop(all_jobs=True),
    "set_retention": _retention_calls.set_retention({"logs": "60d", "errors": None}),
    "state": _calls.state("job", CURRENT),
    "set_state": _calls.set_state("job", CURRENT, {"status": "paused"}, version=1),
    "remove_state": _calls.remove_state("job", CURRENT),
    "create_rule": _rule_calls.create_rule(RULE),
    "replace_rule": _rule_calls.replace_rule("rule-1", RULE),
    "rule": _rule_calls.rule("rule-1"),
    "delete_rule": _rule_calls.delete_rule("rule-1"),
    "enable_rule": _rule_calls.enable_rule("rule-1"),
    "disable_rule": _rule_calls.disable_rule("rule-1"),
    "firings": _rule_calls.firings("rule-1"),
    "expectations": _rule_calls.expectations("rule-1"),
    "retry_firings": _rule_calls.retry_firings("rule-1"),
    "dry_run_rule": _rule_calls.dry_run_rule(RULE),
}
#: What is no call of its own: streams are what ``watch`` reads, files what ``export`` does, and
#: ``subscribe`` has both kinds.
NOT_CALLED = {
    "GET export/{table}",
    *("GET events", "GET job/{jobId}/events", "GET subscriptions/{subscriptionId}/events"),
    *("POST subscribe", "GET state/watch"),
}


@cache
def generator() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs/reference/generate.py"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    home = tmp_path_factory.mktemp("client")
    tracked_jobs.write(home)
    with monitor(home, at_tracked_time=True) as found:
        found.ingest()
        yield found


@pytest.fixture
def client(running: Monitor) -> Iterator[Client]:
    with Client(running.url, running.token) as found:
        yield found


def got(running: Monitor, path: str) -> Any:
    """What the monitor answers without the client."""
    headers = {"Authorization": f"Bearer {running.token}"}
    url = f"{running.url}/api/default/default/execution/{path}"
    return httpx.get(url, headers=headers, trust_env=False).json()


def as_json(value: Any) -> Any:
    """An answer as it was before it was read, made from its typed fields alone."""
    if isinstance(value, Answer):
        fields = [each for each in dataclasses.fields(value) if each.name != "raw"]
        names = {each.name: each.metadata.get("json", field_name(each.name)) for each in fields}
        made = {json_name: as_json(getattr(value, name)) for name, json_name in names.items()}
        return {name: made[name] for name in made if made[name] is not None or name in value.raw}
    if isinstance(value, datetime):
        return value
    return [as_json(each) for each in value] if isinstance(value, tuple) else value


def with_times(value: Any) -> Any:
    """JSON with its times as such, wherever a text is one."""
    if isinstance(value, dict):
        return {name: with_times(each) for name, each in value.items()}
    if isinstance(value, list):
        return [with_times(each) for each in value]
    is_time = isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", value)
    return datetime.fromisoformat(value) if is_time else value


# --- the calls and the OpenAPI document --------------------------------------------------------


def operations() -> dict[str, dict[str, Any]]:
    """What the document has below a project, by method and path."""
    return {
        f"{method.upper()} {path.removeprefix(BASE)}": route
        for path, routes in generator()["openapi"]()["paths"].items()
        if path.startswith(BASE)
        for method, route in routes.items()
    }


def operation_of(call: Call[Any]) -> str:
    path = call.path.replace(f"state/job/{CURRENT}", "state/{kind}/{entityId}")
    path = path.replace(CURRENT, "{jobId}").replace("sub-1", "{subscriptionId}")
    path = path.replace("rule-1", "{ruleId}")
    return f"{call.method} {path}"


def test_every_operation_can_be_called() -> None:
    """The client has a call for each operation of the document, and for no other."""
    assert {
        operation_of(call) for call in (CALLS | CHANGES).values()
    } == operations().keys() - NOT_CALLED


def test_both_clients_have_every_call() -> None:
    """`Client` and `AsyncClient` have a method for each call, with what the call says of itself."""
    made = {
        name: getattr(module, name).__doc__
        for module in (_calls, _retention_calls, _rule_calls)
        for name in module.__all__
        if name not in ("Call", "job_path", "subscription_path", "rule_path")
    }
    assert CALLS.keys() | CHANGES.keys() | {"raw_logs"} == made.keys()
    for name, says in made.items():
        for kind in (Client, AsyncClient):
            assert getattr(kind, name).__doc__ == says


@pytest.mark.parametrize("name", CALLS | CHANGES)
def test_a_call_sends_what_the_document_knows(name: str) -> None:
    """Parameters of the query have the document's names, and all of them can be sent."""
    call = (CALLS | CHANGES)[name]
    parameters = operations()[operation_of(call)].get("parameters", ())
    known = {each["name"] for each in parameters if each["in"] == "query"}
    # Pages follow a Refresh header, and text is asked for by a call of its own.
    assert set(call.query) == known - {"refreshInterval", "format"}


def test_the_answers_are_what_the_document_says() -> None:
    """Nobody has to remember to run the generator: this fails until it was run."""
    made = generator()["answer_modules"]()
    folder = Path(answers.__file__).parent  # also where the built wheel is what is tested
    assert {path.stem for path in folder.glob("*.py")} == made.keys()
    for name, text in made.items():
        assert (folder / f"{name}.py").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", CALLS)
def test_an_answer_keeps_every_field(running: Monitor, client: Client, name: str) -> None:
    """Every field of a real answer is in the typed one, under its name and with its value."""
    call = CALLS[name]
    answer = client.ask(call)
    query = str(httpx.QueryParams(call.parameters))
    expected = got(running, f"{call.path}?{query}")
    assert answer.raw == expected
    assert with_times(as_json(answer)) == with_times(expected)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_published_examples_are_read(name: str) -> None:
    """The published example of each answer has what its class asks for, but for our additions."""
    kind = answers.BatchAnswer if name == "batch" else CALLS[name].answer
    try:
        read(kind, EXAMPLES[name])
    except AnswerError as error:
        field = re.search(r"has no (\w+)", str(error))
        assert field is not None
        assert f'"{field[1]}"' not in json.dumps(EXAMPLES[name])


def test_both_clients_give_the_same(running: Monitor, client: Client) -> None:
    """What `AsyncClient` answers equals what `Client` answers."""

    async def asked() -> list[Any]:
        async with AsyncClient(running.url, running.token) as asking:
            return [await asking.ask(call) for call in CALLS.values()]

    assert asyncio.run(asked()) == [client.ask(call) for call in CALLS.values()]


def test_the_async_client_takes_a_transport(running: Monitor) -> None:
    """A transport of one's own replaces the network: here the application itself."""

    async def asked() -> Any:
        transport = httpx.ASGITransport(app=running.app)
        async with AsyncClient("http://monitor", running.token, transport=transport) as asking:
            return await asking.progress(CURRENT)

    assert asyncio.run(asked()).job_id == CURRENT


# --- answers -----------------------------------------------------------------------------------


def test_values_have_python_types(client: Client) -> None:
    """Times are aware datetimes, lists are tuples, and names are in snake case."""
    progress = client.progress(CURRENT)
    started_at = progress.overall_progress.start_time
    assert started_at is not None
    assert started_at.utcoffset() == timedelta(0)
    assert [stage.stage_name for stage in progress.stages] == list(tracked_jobs.STAGES)
    assert progress.overall_progress.end_time is None
    graph = client.dependencies(CURRENT).dependency_graph
    assert (PREREQUISITE, CURRENT) in {(edge.from_, edge.to) for edge in graph.edges}


def test_answers_cannot_be_changed(client: Client) -> None:
    """An answer is a fact."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        client.progress(CURRENT).status = "Completed"  # type: ignore[misc]


def test_logs_can_be_chosen(client: Client) -> None:
    """Level, times and number are sent, and answered as asked."""
    only = client.logs(CURRENT, level="WARN")
    assert [entry.level for entry in only.logs] == ["WARN", "ERROR"]
    since = only.logs[-1].timestamp
    assert [
        each.timestamp for each in client.logs(CURRENT, level="WARN", from_time=since).logs
    ] == [since]
    until = client.logs(CURRENT, level="DEBUG", to_time=since - timedelta(seconds=1), limit=3)
    assert len(until.logs) == 3
    assert all(entry.timestamp < since for entry in until.logs)


def test_logs_come_as_text(client: Client) -> None:
    """Raw logs are one line of text for each entry."""
    text = client.raw_logs(CURRENT, level="ERROR")
    assert text.count("\n") == 1
    assert "Memory limit exceeded" in text


def test_jobs_can_be_chosen(client: Client) -> None:
    """By id, by status and by user; what is not there is named."""
    found = client.jobs([CURRENT, FAILED, "nobody"])
    assert {job.job_id for job in found.jobs} == {CURRENT, FAILED}
    assert found.not_found == ("nobody",)
    assert [job.job_id for job in client.jobs(status="Failed").jobs] == [FAILED]
    assert [job.job_id for job in client.jobs(submitted_by="user123").jobs] == [CURRENT]
    assert len(client.jobs(limit=2).jobs) == 2


def test_metrics_can_be_chosen(client: Client) -> None:
    """Only the metrics that are asked for are answered."""
    used = client.metrics(CURRENT, only=("cpu",)).current_metrics.resource_utilization
    assert used.cpu is not None
    assert used.memory is None


def test_an_answer_of_another_version_is_read() -> None:
    """A field that is not known stays in ``raw``; one that must be there is named."""
    edge = read(answers.GraphEdge, {"from": "a", "to": "b", "type": "parent", "colour": "red"})
    assert (edge.from_, edge.to, edge.raw["colour"]) == ("a", "b", "red")
    with pytest.raises(AnswerError, match="the answer has no to"):
        read(answers.GraphEdge, {"from": "a", "type": "parent"})


@pytest.mark.parametrize("value", [None, [], "text", {"logs": 1}])
def test_what_is_no_answer_is_refused(value: Any) -> None:
    """JSON of another shape is an error that says so, whatever it is."""
    with pytest.raises(AnswerError, match="the answer"):
        read(answers.LogsAnswer, value)


# --- changes -----------------------------------------------------------------------------------


def test_a_subscription_lives_and_ends(client: Client) -> None:
    """Made, found, listed and ended; its secret is answered once, and shown by no repr."""
    made = client.subscribe(
        "https://example.com/hook",
        events=["error", "progressUpdate"],
        job_id=CURRENT,
        authentication={"type": "bearer", "token": "hook-token"},
        min_progress_increment=5,
        expires_in_seconds=3_600,
    )
    assert made.secret
    assert made.secret not in repr(made)
    assert made.filters.min_progress_increment == 5
    assert made.expires_at == made.created_at + timedelta(hours=1)
    found = client.subscription(made.subscription_id)
    assert (found.job_id, found.status) == (CURRENT, "Active")
    listed = client.subscriptions(CURRENT).subscriptions
    assert [each.subscription_id for each in listed] == [made.subscription_id]
    assert client.deliveries(made.subscription_id).deliveries == ()
    assert client.replay(made.subscription_id).replayed == 0
    with pytest.raises(ConflictError, match="not disabled"):
        client.enable_subscription(made.subscription_id)
    assert client.unsubscribe(made.subscription_id) is None  # type: ignore[func-returns-value]
    with pytest.raises(NotFoundError):
        client.subscription(made.subscription_id)


def test_a_job_can_be_controlled(client: Client) -> None:
    """A stop is asked for with a reason and stands in the audit trail; a refusal says why."""
    answer = client.stop("first-in-queue", reason="not needed")
    assert (answer.action, answer.status, answer.reason) == ("stop", "Queued", "not needed")
    newest = client.audit("first-in-queue").entries[0]
    assert (newest.reason, newest.actor) == ("not needed", "test")
    for action in (client.pause, client.resume, client.stop):
        with pytest.raises(ConflictError, match="failed") as raised:
            action(FAILED)
        assert raised.value.problem["jobStatus"] == "Failed"


def test_all_of_a_filter_can_be_stopped(client: Client) -> None:
    """Only the jobs that fit are asked; an empty filter is refused."""
    answer = client.emergency_stop(job_ids=[tracked_jobs.DEPENDENT], reason="too many")
    assert (answer.requested, answer.job_ids) == (1, (tracked_jobs.DEPENDENT,))
    with pytest.raises(BadRequestError, match="empty"):
        client.emergency_stop()


def test_a_viewer_changes_nothing(running: Monitor) -> None:
    """A token whose role is not enough is told which role is."""
    with Client(running.url, running.token_of("viewer")) as viewer:
        assert viewer.progress(CURRENT).job_id == CURRENT
        with pytest.raises(ForbiddenError, match="operator"):
            viewer.stop(CURRENT)


# --- refusals ----------------------------------------------------------------------------------


def test_the_exceptions_are_ours() -> None:
    """Whatever a call raises can be caught as `MonitorError`, and as `FiveobsError`."""
    kinds = (UnreachableError, AnswerError, ProblemError)
    assert all(issubclass(kind, MonitorError) for kind in kinds)
    assert issubclass(MonitorError, FiveobsError)


def test_an_unknown_job_is_not_found(client: Client) -> None:
    """The exception has the problem as the monitor told it."""
    with pytest.raises(NotFoundError, match="there is no job 'nobody'") as raised:
        client.progress("nobody")
    assert raised.value.status == 404
    assert raised.value.problem["title"] == "Not Found"


@pytest.mark.parametrize("job_id", ["a b", "ü?#%", "..a", "%2e%2e", ".", "..", "a/b"])
def test_ids_may_hold_any_character(client: Client, job_id: str) -> None:
    """An id that needs quoting arrives as it is."""
    with pytest.raises(NotFoundError) as raised:
        client.progress(job_id)
    assert repr(job_id) in str(raised.value)


def test_what_cannot_be_an_id_is_not_sent(client: Client) -> None:
    """An empty id would make another path, and an empty list would mean any: refused here."""
    with pytest.raises(BadInputError, match="no job id"):
        client.progress("")
    with pytest.raises(BadInputError, match="leave it out"):
        client.jobs([])
    with pytest.raises(BadInputError, match="leave it out"):
        client.metrics(CURRENT, only=())


def test_another_project_is_not_found(running: Monitor) -> None:
    """A tenant or project that is not there is an error, not an empty answer."""
    other = Client(running.url, running.token, project_id="other")
    with other, pytest.raises(NotFoundError, match="no project 'other'"):
        other.jobs()


def test_a_bad_value_is_named(client: Client) -> None:
    """What the monitor does not take is named, with what would be valid."""
    with pytest.raises(BadRequestError, match=r"level: 'LOUD' cannot be used.*DEBUG") as raised:
        client.logs(CURRENT, level="LOUD")
    assert str(raised.value).count("LOUD") == 1
    with pytest.raises(BadRequestError, match="limit"):
        client.logs(CURRENT, limit=0)


def test_a_naive_time_is_refused(client: Client) -> None:
    """A time without a zone could mean any moment."""
    with pytest.raises(BadInputError, match="no time zone"):
        client.logs(CURRENT, from_time=datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


def test_ids_with_commas_stay_whole(client: Client) -> None:
    """A comma does not make two ids of one."""
    assert client.jobs(["a,b"]).not_found == ("a,b",)
    assert client.jobs(["a,b", CURRENT]).not_found == ("a,b",)


@pytest.mark.parametrize("token", [None, "fiveobs_0_wrong"])
def test_a_token_is_needed(running: Monitor, token: str | None) -> None:
    """Without a good token the message says how to get one."""
    stranger = Client(running.url, token)
    with stranger, pytest.raises(UnauthorizedError, match="FIVEOBS_MONITOR_TOKEN"):
        stranger.jobs()


def test_too_many_failures_say_when_to_come_again(tmp_path: Path) -> None:
    """The time that the monitor asks to wait is in the exception and in its message."""
    with monitor(tmp_path) as found, Client(found.url, "fiveobs_0_wrong") as stranger:
        for _ in range(20):
            with pytest.raises(UnauthorizedError):
                stranger.jobs()
        with pytest.raises(TooManyError, match="try again in") as raised:
            stranger.jobs()
    assert raised.value.retry_after_s is not None
    assert 0 < raised.value.retry_after_s <= 60


def test_a_monitor_that_is_not_there_says_how_to_start_one() -> None:
    """A refused connection names the address, the command and the variable."""
    nobody, text = Client("http://127.0.0.1:9"), r"0\.1:9 .*fiveobs serve.*FIVEOBS_MONITOR_URL"
    with nobody, pytest.raises(UnreachableError, match=text):
        nobody.jobs()


def answering(response: httpx.Response) -> Client:
    """A client whose other side says this."""
    transport = httpx.MockTransport(lambda request: response)
    return Client("http://127.0.0.1:1", "token", transport=transport)


@pytest.mark.parametrize(
    ("response", "kind", "text"),
    [
        (httpx.Response(404, text="<html>"), AnswerError, "no monitor: 404 Not Found"),
        (httpx.Response(301, headers={"Location": "/x"}), AnswerError, "no monitor: 301"),
        (httpx.Response(200, text="<html>"), AnswerError, "no JSON"),
        (httpx.Response(200, json=[]), AnswerError, "no BatchAnswer"),
        (httpx.Response(502, text="<html>"), ServerError, "502 Bad Gateway"),
        (httpx.Response(599), ServerError, "599"),
    ],
)
def test_what_is_no_monitor_is_told_from_one(
    response: httpx.Response, kind: type[MonitorError], text: str
) -> None:
    """A page of something else, a proxy's or another program's, is named as such."""
    with answering(response) as client, pytest.raises(kind, match=text):
        client.jobs()


def test_a_slow_monitor_is_given_up() -> None:
    """The message says how long was waited."""

    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    client = Client("http://127.0.0.1:1", timeout_s=0.5, transport=httpx.MockTransport(slow))
    with client, pytest.raises(UnreachableError, match=r"did not answer within 0\.5 s"):
        client.jobs()


# --- where the monitor is ----------------------------------------------------------------------


def test_the_environment_says_where_it_is(
    running: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Address and token come from the environment where they are not given."""
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    with Client() as client:
        assert client.progress(CURRENT).job_id == CURRENT


def test_the_first_token_is_found_on_this_machine_only(fiveobs_home: Path) -> None:
    """The token in the home goes to the monitor that runs with it, and to nothing else."""
    path = fiveobs_home / "monitor" / "token"
    path.parent.mkdir(parents=True)
    path.write_text("fiveobs_1_secret\n", encoding="ascii")
    environ = {"FIVEOBS_HOME": str(fiveobs_home)}
    assert find_place(None, None, environ=environ).token is None  # no monitor runs there
    path.with_name("url").write_text("http://127.0.0.1:18390\n", encoding="ascii")
    found = find_place(None, None, environ=environ)
    assert (found.url, found.token) == ("http://127.0.0.1:18390", "fiveobs_1_secret")
    for url in ("http://localhost:18390/", "http://[::1]:18390"):
        assert find_place(url, None, environ=environ).token == "fiveobs_1_secret"
    for url in (
        *("http://127.0.0.1:8390", "http://10.0.0.1:18390", "http://127.0.0.1"),
        "https://127.0.0.1.example.com:18390",
    ):
        assert find_place(url, None, environ=environ).token is None
    assert find_place(None, "given", environ=environ).token == "given"


def test_a_prefix_of_the_address_is_kept() -> None:
    """Behind a reverse proxy the monitor may be below a path."""
    place = find_place("https://example.com/monitor/", "t", tenant_id="a b", environ={})
    assert (
        place.url_of("events") == "https://example.com/monitor/api/a%20b/default/execution/events"
    )


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8390", "ftp://host", "http://", "http://a:b@host", "http://host:0", "x://["]
)
def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    """The message names the variable, the value and what would be valid."""
    with pytest.raises(ConfigError, match=r"FIVEOBS_MONITOR_URL.*http://127\.0\.0\.1:8390"):
        Client(url)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), True, "10"])
def test_a_timeout_that_cannot_be_used_is_refused(timeout_s: Any) -> None:
    """A timeout is a number of seconds above 0."""
    with pytest.raises(ConfigError, match="timeout_s"):
        Client(timeout_s=timeout_s)


def test_the_token_is_never_shown() -> None:
    """Neither the client nor the error about a bad token has it in its text."""
    with Client(token="fiveobs_1_secret") as client:
        assert "secret" not in repr(client)
        assert "secret" not in repr(client._place)
    with pytest.raises(ConfigError) as raised:
        Client(token="fiveobs 1 secret")
    assert "secret" not in str(raised.value)


def test_no_proxy_leads_to_this_machine(running: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment does not come between a client and a monitor on one machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Client(running.url, running.token) as client:
        assert client.jobs(limit=1).job_count == 1


def test_without_httpx_it_says_what_to_install() -> None:
    """Importing the client without its extra names the extra."""
    program = "import sys; sys.modules['httpx'] = None; import fiveobs.client"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'fiveobs[client]'" in done.stderr


def test_times_are_sent_in_utc() -> None:
    """Whatever the zone of a time, the moment is sent."""
    at = datetime(2026, 1, 2, 3, tzinfo=UTC)
    assert _calls.logs("a", from_time=at).parameters["fromTime"] == "2026-01-02T03:00:00Z"
