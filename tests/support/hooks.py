"""A receiver of webhooks, jobs that have happened, and a deliverer that runs."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fiveobs.journal.locks import StemLock
from fiveobs.journal.segments import LOCK_SUFFIX
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import jobs
from fiveobs.monitor.webhooks import subscriptions
from fiveobs.monitor.webhooks.choosing import Choice
from fiveobs.monitor.webhooks.deliverer import Deliverer
from fiveobs.monitor.webhooks.guard import Guard
from fiveobs.monitor.webhooks.sending import Sender
from fiveobs.monitor.webhooks.signing import new_secret, signature
from fiveobs.monitor.webhooks.subscriptions import SubscriptionRow
from tests.support.journals import line, write_segment
from tests.support.web import Answer, HttpReceiver, Request

__all__ = ["LOOPBACK", "Home", "HookReceiver", "delivering", "happen", "is_signed", "subscribe"]

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
_STEM = "machine-1-1767323045000000"


class HookReceiver(HttpReceiver):
    """Takes webhooks; what it answers can be said beforehand, one answer for each request."""

    name = "hook"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        #: What it answers to the next requests; 200 when there is nothing left.
        self.answers: list[Answer] = []
        #: Every request, refused ones included.
        self.seen: list[Request] = []

    def _receive(self, request: Request) -> Answer:
        if len(request.body) != int(request.headers["content-length"]):
            raise ValueError("its sender was killed while it sent")
        with self._storing():
            self.seen.append(request)
            return self.answers.pop(0) if self.answers else Answer(status=200)

    @property
    def sequences(self) -> list[int]:
        """The place of each event that was sent, in the order of the requests."""
        return [int(json.loads(request.body)["sequence"]) for request in self.seen]

    @property
    def types(self) -> list[str]:
        """The type of each event that was sent."""
        return [json.loads(request.body)["type"].removeprefix("fiveobs.") for request in self.seen]


def is_signed(request: Request, secret: str) -> bool:
    """Whether a request carries the signature of the Standard Webhooks scheme."""
    headers = request.headers
    expected = signature(
        secret, headers["webhook-id"], int(headers["webhook-timestamp"]), request.body
    )
    return headers["webhook-signature"] == expected


class Home:
    """Journal lines, taken into a store as they are said."""

    def __init__(self, store: Store, home: Path) -> None:
        self._home = home
        self._number = 0
        # As its process does while it lives: else nobody looks at once whether there is more.
        path = home / "journal" / f"{_STEM}{LOCK_SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = StemLock(path)
        assert lock.acquire(create=True)
        weakref.finalize(self, lock.release)
        self._ingester = Ingester(store, home / "journal", report=print)

    def say(self, *events: str, job_id: str = "job-1", **fields: Any) -> None:
        """Let something happen to a job."""
        for event_type in events:
            self._number += 1
            fields.setdefault("service", "thumbnails")
            text = line(
                self._number,
                event_type,
                job_id=job_id,
                job_name="resize",
                attempt=1,
                worker_id="w",
                machine_id="m",
                **fields,
            )
            write_segment(self._home, _STEM, 1, text)
        while self._ingester.step():
            pass

    def progress(self, *percents: float, job_id: str = "job-1") -> None:
        """Let a job make progress."""
        for percent in percents:
            self.say("job.progress", job_id=job_id, data={"percent": percent})


def happen(store: Store, home: Path) -> Home:
    """A project with one job that has started."""
    found = Home(store, home)
    found.say("job.started")
    return found


def subscribe(
    store: Store, url: str, *events: str, job_id: str | None = None, **options: Any
) -> SubscriptionRow:
    """A webhook subscription, as the API makes them."""
    lifetime_s = options.pop("lifetime_s", 3_600.0)
    authentication = options.pop("authentication", None)
    token_id = options.pop("token_id", None)
    choice = Choice(events=events or ("jobStarted", "jobCompleted"), **options)
    now_us = round(time.time() * 1_000_000)
    with store.writing() as connection:
        job_key = None
        if job_id is not None:
            job_key = connection.execute(
                jobs.select().with_only_columns(jobs.c.job_key).filter_by(job_id=job_id)
            ).scalar_one()
        return subscriptions.create(
            connection,
            project_key=1,
            job_key=job_key,
            kind="webhook",
            url=url,
            events=list(choice.events),
            filters=choice.filters(),
            authentication=authentication,
            secret=new_secret(),
            created_by="test",
            token_id=token_id,
            now_us=now_us,
            expires_at_us=now_us + round(lifetime_s * 1_000_000),
        )


@contextlib.contextmanager
def delivering(
    store: Store,
    *,
    sender: Sender | None = None,
    pause: Callable[[int, float | None], float] = lambda failures, asked: 0.02,
    **options: Any,
) -> Iterator[Deliverer]:
    """Deliver for as long as the block runs, with short pauses between tries."""
    sender = sender or Sender(Guard([LOOPBACK]), total_s=2.0)
    deliverer = Deliverer(store, sender, pause=pause, **options)
    stop = threading.Event()
    thread = threading.Thread(target=deliverer.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield deliverer
    finally:
        stop.set()
        thread.join(timeout=10.0)
        assert not thread.is_alive()
