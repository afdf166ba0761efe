"""The route of exports: a table as a file, streamed as it is read.

An answer that is whole ends as HTTP says; one that is not is cut off, so that a client can tell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import anyio
import anyio.to_thread
from fastapi import Depends, HTTPException, Path, Query, Request
from fastapi.responses import Response

from fiveobs._report import report
from fiveobs.monitor.api.asked import Moment, in_order
from fiveobs.monitor.api.dependencies import MOST_ID, ProjectScope, Scope, TheStore, require
from fiveobs.monitor.api.problems import described, invalid
from fiveobs.monitor.api.routers import make_router
from fiveobs.monitor.api.tracking import Status
from fiveobs.monitor.exporting.formats import FORMATS, MEDIA_TYPES, Csv, Encoder, pieces
from fiveobs.monitor.exporting.table import Table
from fiveobs.monitor.exporting.tables import TABLES
from fiveobs.monitor.exporting.walking import JOB, KIND, PERIOD, STATUS, Wanted
from fiveobs.monitor.live.sse import until_gone
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.executions import kinds_named
from fiveobs.monitor.store.reading import job_by_id
from fiveobs.monitor.store.rows import JobRow
from fiveobs.monitor.tracking.tracked import STATUSES

if TYPE_CHECKING:
    from starlette.types import Receive, Send
    from starlette.types import Scope as AsgiScope

__all__ = [
    "Asked",
    "Download",
    "From",
    "JobName",
    "Service",
    "To",
    "export_table",
    "kind_keys",
    "router",
]

#: Threads that read for exports: the others are left to whoever wants a quick answer.
_AT_ONCE = 2
#: How long a client may take nothing at all before its export is cut off.
_PATIENCE_S = 300.0

router = make_router("Export and report")

#: Which parameters choose by what.
_CHOSEN_BY = {
    "jobName": KIND,
    "service": KIND,
    "status": STATUS,
    "jobId": JOB,
    "fromTime": PERIOD,
    "toTime": PERIOD,
}

_NO_NUL = r"^[^\x00]*$"
JobName: TypeAlias = Annotated[
    str | None,
    Query(
        alias="jobName",
        min_length=1,
        max_length=MOST_ID,
        pattern=_NO_NUL,
        description="Only of jobs of this name",
    ),
]
Service: TypeAlias = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=MOST_ID,
        pattern=_NO_NUL,
        description="With `jobName`: only of jobs of this service",
    ),
]
From: TypeAlias = Annotated[Moment | None, Query(alias="fromTime", description="From then on")]
To: TypeAlias = Annotated[
    Moment | None, Query(alias="toTime", description="Before then; now if left out")
]


class Asked:
    """Which rows are asked for, by the parameters of the query."""

    def __init__(
        self,
        *,
        job_name: JobName = None,
        service: Service = None,
        status: Annotated[Status | None, Query(description="Only of jobs in this status")] = None,
        job_id: Annotated[
            str | None,
            Query(alias="jobId", min_length=1, max_length=MOST_ID, description="Only of this job"),
        ] = None,
        from_time: From = None,
        to_time: To = None,
    ) -> None:
        self.job_name, self.service, self.status = job_name, service, status
        self.job_id, self.from_us, self.to_us = job_id, from_time, to_time

    def of(self, store: Store, scope: ProjectScope, table: Table) -> Wanted:
        """The rows of a table.

        Raises:
            HTTPException: There is no such job: 404.
            ProblemError: The table cannot be chosen from so: 422.
        """
        self._check(table)
        in_order("query", self.from_us, self.to_us)
        to_us = self.to_us
        if to_us is None and PERIOD in table.filters:
            to_us = time.time_ns() // 1_000  # what comes in while it is read has no end
        return Wanted(
            project_key=scope.project_key,
            kind_keys=kind_keys(store, scope, self.job_name, self.service),
            status=None if self.status is None else STATUSES[self.status],
            job=self._job(store, scope),
            from_us=self.from_us,
            to_us=to_us,
        )

    def _job(self, store: Store, scope: ProjectScope) -> JobRow | None:
        if self.job_id is None:
            return None
        found = None
        if "\0" not in self.job_id:
            with store.reading() as connection:
                found = job_by_id(connection, scope.project_key, self.job_id)
        if found is None:
            raise HTTPException(404, f"there is no job {self.job_id!r} in this project")
        return found

    def _check(self, table: Table) -> None:
        given = {
            "jobName": self.job_name,
            "service": self.service,
            "status": self.status,
            "jobId": self.job_id,
            "fromTime": self.from_us,
            "toTime": self.to_us,
        }
        for name, value in given.items():
            if value is not None and _CHOSEN_BY[name] not in table.filters:
                takes = [each for each, by in _CHOSEN_BY.items() if by in table.filters]
                valid = f"valid are {', '.join(takes)}" if takes else "leave it out"
                raise invalid("query", name, value, f"{valid}: this is of the table {table.name}")


def kind_keys(
    store: Store, scope: ProjectScope, job_name: str | None, service: str | None
) -> list[int] | None:
    """The kinds of job that are meant; ``None`` means all.

    Raises:
        ProblemError: A service without a name: 422.
    """
    if job_name is None:
        if service is not None:
            detail = "say of which jobs, with jobName: services have several"
            raise invalid("query", "service", service, detail)
        return None
    with store.reading() as connection:
        return kinds_named(connection, scope.project_key, job_name, service)


_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows, as they are read. An answer that breaks off is not whole",
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "service,job_name\nmining,Customer Journey Analysis\n",
            },
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"service":"mining","job_name":"Customer Journey Analysis"}\n',
            },
            "application/vnd.apache.parquet": {
                "schema": {"type": "string", "format": "binary"},
                "example": "PAR1…PAR1",
            },
        },
        "headers": {
            "Content-Disposition": {
                "description": "A name for the file",
                "schema": {"type": "string"},
            }
        },
    },
    501: described("The monitor cannot make Parquet: pyarrow is not installed where it runs"),
}


@router.get("/export/{table}", summary="Export a table", response_class=Response, responses=_FILES)
async def export_table(
    *,
    request: Request,
    scope: Scope,
    store: TheStore,
    table: Annotated[
        str,
        Path(description="Which table", json_schema_extra={"enum": list(TABLES)}),
    ],
    asked: Annotated[Asked, Depends()],
    file_format: Annotated[
        Literal["csv", "jsonl", "parquet"], Query(alias="format", description="Of the file")
    ] = "csv",
    formulas: Annotated[
        Literal["escaped", "raw"],
        Query(
            description="CSV: texts that a spreadsheet would take for a formula get a `'` before "
            "them, or stay as they are"
        ),
    ] = "escaped",
) -> Response:
    """All rows of a table of the project, the oldest first, in constant memory.

    `audit` needs an admin's token.
    """
    found = TABLES.get(table)
    if found is None:
        raise invalid("path", "table", table, f"valid are {', '.join(TABLES)}")
    require(found.role)(request)
    encoder = _encoder(found, file_format, formulas)
    wanted = await anyio.to_thread.run_sync(asked.of, store, scope, found)
    download = Download(
        pieces(encoder, found.chunks(store, wanted)),
        turns=_turns(request),
        media_type=MEDIA_TYPES[file_format],
        filename=f"{table}.{file_format}",
    )
    await download.begin()
    return download


def _encoder(table: Table, file_format: str, formulas: str) -> Encoder:
    if file_format == "csv":
        return Csv(table.columns, is_guarded=formulas == "escaped")
    try:
        return FORMATS[file_format](table.columns)
    except ModuleNotFoundError as exc:
        raise HTTPException(
            501,
            f"the monitor cannot make {file_format}: install {exc.name} where it runs, with pip "
            "install 'fiveobs[parquet]'; csv and jsonl it can",
        ) from exc


def _turns(request: Request) -> anyio.CapacityLimiter:
    """What exports of this application take turns by, piece by piece."""
    state = request.app.state
    found: anyio.CapacityLimiter | None = getattr(state, "export_turns", None)
    if found is None:
        found = state.export_turns = anyio.CapacityLimiter(_AT_ONCE)
    return found


class Download(Response):
    """An answer that is made while it is sent, in a thread.

    Args:
        made: Makes its pieces; not asked for more when the client has left.
        turns: How many may be made at once.
        media_type: What it is.
        filename: What to call it.
        patience_s: How long a client may take nothing, in seconds.
    """

    def __init__(
        self,
        made: Iterator[bytes],
        *,
        turns: anyio.CapacityLimiter,
        media_type: str,
        filename: str,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        disposition = f'attachment; filename="{filename}"'
        super().__init__(media_type=media_type, headers={"Content-Disposition": disposition})
        del self.headers["content-length"]
        self._made = made
        self._turns = turns
        self._patience_s = patience_s
        self._first: bytes | None = None

    async def begin(self) -> None:
        """Make the first piece: what is wrong with that can still be answered as a problem."""
        self._first = await self._next()

    async def _next(self) -> bytes | None:
        return await anyio.to_thread.run_sync(next, self._made, None, limiter=self._turns)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send all of it, unless the client leaves."""
        gone = asyncio.create_task(until_gone(receive))
        sending = asyncio.create_task(self._send_all(send))
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            piece = self._first
            while piece is not None:
                await self._send(send, piece)
                piece = await self._next()
            await self._send(send, b"", more_body=False)
        except TimeoutError:
            report("export", f"a client took nothing for {self._patience_s:g} s: cut off")
        except Exception as exc:
            # Not ended in good order, so that nobody takes what has come for all there is.
            report("export", f"{type(exc).__name__}: {exc}")

    async def _send(self, send: Send, body: bytes, *, more_body: bool = True) -> None:
        """Hand over to the server, which waits while the client's buffers are full."""
        async with asyncio.timeout(self._patience_s):
            await send({"type": "http.response.body", "body": body, "more_body": more_body})
