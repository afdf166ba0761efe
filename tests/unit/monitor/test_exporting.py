"""The route of exports: who may have what, how it is answered, and what breaks off."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import event, insert
from sqlalchemy.exc import OperationalError

from fiveobs.client import (
    AsyncClient,
    BadInputError,
    BadRequestError,
    Client,
    ForbiddenError,
    NotFoundError,
    UnauthorizedError,
    UnreachableError,
    _driving,
)
from fiveobs.monitor.api.exporting import Download
from fiveobs.monitor.exporting.columns import Columns
from fiveobs.monitor.exporting.formats import FORMATS, MEDIA_TYPES, Csv, pieces
from fiveobs.monitor.exporting.table import Table, Worked
from fiveobs.monitor.exporting.tables import TABLES
from fiveobs.monitor.exporting.walking import KIND, MOST_ROWS, PERIOD, Wanted
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import kinds, projects
from tests.support import tracked_jobs
from tests.support.asgi import Answer, ask
from tests.support.exports import READERS
from tests.support.monitors import Monitor, monitor
from tests.support.tenants import PROJECTS, Tenants, job_ids, names, secret, tenants

BASE = "/api/default/default/execution/export"
WANTED = Wanted(project_key=1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    home = tmp_path_factory.mktemp("exporting")
    tracked_jobs.write(home)
    with monitor(home) as found:
        found.ingest()
        yield found


@pytest.fixture
def client(running: Monitor) -> Iterator[Client]:
    with Client(running.url, running.token) as found:
        yield found


def asked(running: Monitor, path: str, token: str | None = None) -> Answer:
    return ask(running.app, "GET", f"{BASE}/{path}", token=token or running.token)


def rows(running: Monitor, path: str) -> list[Any]:
    found = asked(running, f"{path}{'&' if '?' in path else '?'}format=jsonl")
    assert found.status == 200, found.body
    return READERS["jsonl"](found.body, TABLES[path.partition("?")[0]].columns)


# --- what is answered ----------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_export_is_a_file_of_its_format(running: Monitor, file_format: str) -> None:
    """Type and name are in the headers, no cache keeps it, and its rows are the table's."""
    found = asked(running, f"stages?format={file_format}")
    assert found.status == 200
    assert found.headers["content-type"] == MEDIA_TYPES[file_format]
    disposition = f'attachment; filename="stages.{file_format}"'
    assert found.headers["content-disposition"] == disposition
    assert found.headers["cache-control"] == "no-store"
    assert "content-length" not in found.headers
    assert len(READERS[file_format](found.body, TABLES["stages"].columns)) == 83


def test_rows_are_chosen_as_the_parameters_say(running: Monitor) -> None:
    """By period, kind, service, status and job, together."""
    assert len(rows(running, "jobs")) == 33
    name = "jobName=Weekly%20Report%20Generation"
    assert len(rows(running, f"jobs?{name}")) == 9
    assert len(rows(running, f"jobs?{name}&service=mining&status=Completed")) == 6
    assert rows(running, f"jobs?{name}&service=other") == []
    bounds = "fromTime=2026-01-02T03:04:05Z&toTime=2026-01-02T04:00:00Z"
    assert len(rows(running, f"jobs?{bounds}")) == 2
    assert len(rows(running, f"attempts?jobId={tracked_jobs.CURRENT}")) == 1
    assert rows(running, f"attempts?jobId={tracked_jobs.CURRENT}&status=Failed") == []


def test_without_an_end_a_period_ends_now(sqlite_store: Store, tmp_path: Path) -> None:
    """What is dated later, and what comes in meanwhile, is of the next export."""
    tracked_jobs.write(tmp_path)
    with monitor(tmp_path) as found:
        found.ingest()
        late = "2026-01-02T03:04:05Z"
        with found.store.writing() as connection:
            connection.exec_driver_sql("UPDATE jobs SET created_at_us = 4102444800000000")
        assert rows(found, f"jobs?fromTime={late}") == []
        assert len(rows(found, f"jobs?fromTime={late}&toTime=2200-01-01T00:00:00Z")) == 33


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("nothing", 422, "valid are jobs, attempts"),
        ("jobs?format=xml", 422, "csv, jsonl, parquet"),
        ("jobs?status=Busy", 422, "Running, Queued"),
        ("jobs?fromTime=yesterday", 422, "RFC 3339"),
        ("jobs?fromTime=2026-01-02T00:00:00Z&toTime=2026-01-01T00:00:00Z", 422, "times up to"),
        ("jobs?colour=red", 422, "no such parameter"),
        ("jobs?service=mining", 422, "say of which jobs, with jobName"),
        ("kinds?status=Failed", 422, "leave it out: this is of the table kinds"),
        ("samples?jobName=x", 422, "valid are fromTime, toTime: this is of the table samples"),
        ("jobs?jobId=nobody", 404, "there is no job 'nobody'"),
        ("jobs?jobId=a%00b", 404, "there is no job"),
    ],
)
def test_what_cannot_be_asked_says_what_can(
    running: Monitor, path: str, status: int, text: str
) -> None:
    """The value is named, and what would be valid."""
    found = asked(running, path)
    assert (found.status, found.headers["content-type"]) == (status, "application/problem+json")
    assert text in found.content["detail"]


def test_a_viewer_has_all_tables_but_the_audit_trail(running: Monitor) -> None:
    """Who may read something elsewhere may export it, and nobody else."""
    for role, refused in (("viewer", ["audit"]), ("operator", ["audit"]), ("admin", [])):
        token = running.token_of(role)
        found = {name: asked(running, name, token).status for name in TABLES}
        assert [name for name, status in found.items() if status == 403] == refused
        assert set(found.values()) <= {200, 403}
    assert asked(running, "jobs", "nobody").status == 401


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    made = tenants(tmp_path_factory.mktemp("several"))
    yield made
    made.store.close()


@pytest.mark.parametrize("place", PROJECTS, ids="/".join)
def test_an_export_is_of_one_project(several: Tenants, place: tuple[str, str]) -> None:
    """No table of one project has what another one keeps, also where ids and names are alike."""
    (holder,) = [each for each in several.holders if each.name == f"admin of {place[0]}/None"] or [
        each for each in several.holders if each.name == "admin of None/None"
    ]
    seen = b""
    for name in TABLES:
        path = f"/api/{'/'.join(place)}/execution/export/{name}?format=jsonl"
        found = ask(several.app, "GET", path, token=holder.token)
        assert found.status == 200
        seen += found.body
    assert secret(*place).encode() in seen
    for other in PROJECTS:
        if other != place:
            assert secret(*other).encode() not in seen
            assert names(*other)[0].encode() not in seen
    assert b"whsec_" not in seen
    hidden = f"/api/{'/'.join(place)}/execution/export/jobs?jobId={job_ids('b', 'p')[0]}"
    found = ask(several.app, "GET", hidden, token=holder.token)
    assert found.status == (200 if place == ("b", "p") else 404)


def test_parquet_without_pyarrow_says_what_to_install(
    running: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """501 and the extra; the other formats work."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    found = asked(running, "jobs?format=parquet")
    assert found.status == 501
    assert "pip install 'fiveobs[parquet]'" in found.content["detail"]
    assert asked(running, "jobs?format=jsonl").status == 200


def test_a_result_of_an_analysis_is_one_more_table(
    running: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name, columns, and a function from what is wanted to rows."""

    def worked(store: Store, wanted: Wanted) -> Iterator[list[tuple[Any, ...]]]:
        yield [(f"k{number}", str(wanted.kind_keys)) for number in range(2 * MOST_ROWS + 1)]

    columns = Columns(kinds)
    table = Table(
        name="slowest",
        doc="A row.",
        period="when",
        columns=(columns.text("job_name", "a"), columns.text("service", "b")),
        walk=Worked(worked, (PERIOD, KIND)),
    )
    monkeypatch.setitem(TABLES, "slowest", table)  # type: ignore[arg-type]
    found = rows(running, "slowest?jobName=none&fromTime=2026-01-02T03:04:05Z")
    assert len(found) == 2 * MOST_ROWS + 1
    assert found[7] == ("k7", "[]")
    assert asked(running, "slowest?status=Failed").status == 422


# --- what breaks off -----------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Monitor]:
    """A monitor whose project has many chunks of kinds of job."""
    owner = {"project_key": 1, "tenant_id": "default", "project_id": "default"}
    many = [
        {"kind_key": number, "project_key": 1, "service": "s", "job_name": f"{number}-{'x' * 200}"}
        for number in range(1, 6 * MOST_ROWS + 2)
    ]
    with monitor(tmp_path) as found:
        with found.store.writing() as connection:
            connection.execute(insert(projects), owner | {"created_at_us": 1})
            connection.execute(insert(kinds), many)
        yield found


def failing_after(store: Store, reads: int) -> Any:
    """Have the store fail from one read on; how many there were."""
    count = [0]

    def fail(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM kinds" in statement:
            count[0] += 1
            if count[0] > reads:
                raise OperationalError(statement, {}, Exception("the disk is gone"))

    event.listen(store.engine, "before_cursor_execute", fail)
    return count


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_export_that_fails_in_the_middle_is_cut_off(large: Monitor, file_format: str) -> None:
    """The client has some rows, and an exception instead of an end."""
    count = failing_after(large.store, 4)
    with Client(large.url, large.token) as client:
        export = client.export("kinds", format=file_format)
        parts: list[bytes] = []
        with pytest.raises(UnreachableError, match="broke the export off"):
            parts.extend(iter(export))
        assert export.size_bytes > 0
        if file_format != "parquet":
            assert export.rows == 4 * MOST_ROWS
    count[0] = 0
    url = f"{large.url}{BASE}/kinds?format={file_format}"
    headers = {"Authorization": f"Bearer {large.token}"}
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url, headers=headers, trust_env=False)


def test_a_store_that_fails_at_once_is_answered_as_a_problem(large: Monitor) -> None:
    """Nothing has been sent yet: 503, and when to try again."""
    failing_after(large.store, 0)
    found = asked(large, "kinds")
    assert (found.status, found.headers["content-type"]) == (503, "application/problem+json")
    assert int(found.headers["retry-after"]) > 0


def test_nothing_more_is_read_for_a_client_that_has_left(large: Monitor) -> None:
    """The reading ends with the connection, however much there still is."""
    count = failing_after(large.store, 10**9)

    async def leave() -> None:
        sent = asyncio.Event()

        async def send(message: dict[str, Any]) -> None:
            if message.get("body"):
                sent.set()
                await asyncio.Event().wait()  # as a server does while the client takes nothing

        async def receive() -> dict[str, Any]:
            await sent.wait()
            return {"type": "http.disconnect"}

        made = pieces(Csv(TABLES["kinds"].columns), TABLES["kinds"].chunks(large.store, WANTED))
        turns = anyio.CapacityLimiter(1)
        download = Download(made, turns=turns, media_type="text/csv", filename="x")
        await download.begin()
        async with asyncio.timeout(20):
            await download({"type": "http"}, receive, send)  # type: ignore[arg-type]

    asyncio.run(leave())
    assert count == [1]


def test_a_client_that_takes_nothing_is_cut_off(large: Monitor) -> None:
    """After its patience, without an end in good order."""
    ended: list[bool] = []

    async def stay() -> None:
        async def send(message: dict[str, Any]) -> None:
            ended.append(message.get("more_body") is False)
            if message.get("body"):
                await asyncio.Event().wait()

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        made = pieces(Csv(TABLES["kinds"].columns), TABLES["kinds"].chunks(large.store, WANTED))
        turns = anyio.CapacityLimiter(1)
        download = Download(made, turns=turns, media_type="text/csv", filename="x", patience_s=0.05)
        await download.begin()
        async with asyncio.timeout(20):
            await download({"type": "http"}, receive, send)  # type: ignore[arg-type]

    asyncio.run(stay())
    assert ended == [False, False]


# --- the client ----------------------------------------------------------------------------------


def test_the_client_counts_what_comes(client: Client) -> None:
    """Rows of CSV and JSON Lines, wherever the bytes are cut; of Parquet only bytes."""
    for file_format, expected in (("csv", 83), ("jsonl", 83), ("parquet", None)):
        with client.export("stages", format=file_format) as export:
            data = b"".join(export)
        assert (export.rows, export.size_bytes) == (expected, len(data))


def test_an_export_may_be_silent_for_longer_than_a_stream(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results are worked out before there is a row: a stream would be taken to have gone."""
    monkeypatch.setattr(_driving, "LONGEST_SILENCE_S", 1e-6)
    assert b"workflow_id" in b"".join(client.export("bottlenecks"))


def test_the_asynchronous_client_has_the_same(running: Monitor, client: Client) -> None:
    """The same bytes, for ``async for``, and the same refusals."""

    async def read() -> tuple[bytes, int | None]:
        async with AsyncClient(running.url, running.token) as asking:
            async with asking.export("jobs", format="csv", status="Completed") as export:
                data = b"".join([part async for part in export])
            with pytest.raises(BadRequestError, match="valid are jobs"):
                await anext(asking.export("nothing"))
            return data, export.rows

    data, count = asyncio.run(read())
    assert data == b"".join(client.export("jobs", status="Completed"))
    assert count == data.count(b"\n") - 1


def test_refusals_are_exceptions(running: Monitor, client: Client) -> None:
    """As those of every call; nothing is asked where an option is none."""
    with pytest.raises(BadRequestError, match="valid are jobs"):
        next(client.export("no such table"))
    with pytest.raises(NotFoundError):
        next(client.export("jobs", job_id="nobody"))
    with pytest.raises(BadInputError, match="colour"):
        client.export("jobs", colour="red")  # type: ignore[call-arg]
    with pytest.raises(BadInputError, match="no table"):
        client.export("..")
    with Client(running.url, running.token_of("viewer")) as viewer, pytest.raises(ForbiddenError):
        next(viewer.export("audit"))
    with Client(running.url, "nobody") as nobody, pytest.raises(UnauthorizedError):
        next(nobody.export("jobs"))
    with Client("http://127.0.0.1:9", "x") as lost, pytest.raises(UnreachableError, match="serve"):
        next(lost.export("jobs"))
