"""What a type checker makes of the client; checked with mypy, never run."""

from __future__ import annotations

from datetime import datetime
from typing import assert_type

from fiveobs import JobEvent
from fiveobs.client import AsyncClient, Client
from fiveobs.client.answers import (
    BatchAnswer,
    ControlAnswer,
    NewSubscriptionAnswer,
    ProgressAnswer,
    ReportAnswer,
    StageProgress,
    StateAnswer,
    StatePage,
)


def blocking() -> None:
    with Client("http://127.0.0.1:8390", "token", tenant_id="acme") as client:
        progress = client.progress("42")
        assert_type(progress, ProgressAnswer)
        assert_type(progress.stages, tuple[StageProgress, ...])
        assert_type(progress.overall_progress.estimated_completion, datetime | None)
        assert_type(client.raw_logs("42", level="DEBUG"), str)
        assert_type(client.jobs(["42"], status="Running"), BatchAnswer)
        assert_type(client.stop("42", reason="enough"), ControlAnswer)
        assert_type(client.subscribe("https://e.com", events=["error"]), NewSubscriptionAnswer)
        client.unsubscribe("sub-1")
        client.progress()  # type: ignore[call-arg]
        client.logs("42", limit="many")  # type: ignore[arg-type]
        with client.watch("42", types=["job.*"], after="7") as watch:
            for event in watch:
                assert_type(event, JobEvent)
            assert_type(watch.last_event_id, str)
        client.watch(colour="red")  # type: ignore[call-arg]
        with client.export("jobs", format="csv", status="Failed") as export:
            for part in export:
                assert_type(part, bytes)
            assert_type(export.rows, int | None)
        client.export("jobs", colour="red")  # type: ignore[call-arg]
        assert_type(client.report(job_name="etl"), ReportAnswer)
        assert_type(client.states("job", health="stuck"), StatePage)
        assert_type(client.set_state("document", "d", {"n": 1}, version=1), StateAnswer)
        client.set_state("document", "d")  # type: ignore[call-arg]
        with client.watch_states(kinds=["job"], after="7") as states:
            for state in states:
                assert_type(state, StateAnswer)
            assert_type(states.is_synced, bool)


async def awaiting() -> None:
    async with AsyncClient() as client:
        assert_type(await client.progress("42"), ProgressAnswer)
        assert_type(await client.pause("42"), ControlAnswer)
        await client.unsubscribe("sub-1")
        async for event in client.watch():
            assert_type(event, JobEvent)
        async for part in client.export("jobs"):
            assert_type(part, bytes)
        assert_type(await client.state("job", "42"), StateAnswer)
        async for state in client.watch_states(from_now=True):
            assert_type(state, StateAnswer)
