"""Tries a subscriber out: one made-up event, sent now, apart from everything else.

A receiver that says nothing keeps a thread until the deadline. So tests have threads of their own,
a short deadline, and a bound for each project: whoever asks for many keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import orjson

from fiveobs.monitor.webhooks.sending import Answer, Message, Sender
from fiveobs.monitor.webhooks.signing import message_id
from fiveobs.monitor.webhooks.subscriptions import SubscriptionRow

__all__ = ["TRIAL_S", "BusyError", "Outcome", "Trials"]

#: How long a receiver may take for a test, in seconds.
TRIAL_S = 5.0
#: Tests at once: of one project, and of all together.
_MOST_PER_PROJECT, _MOST = 2, 16


class BusyError(Exception):
    """There are as many tests under way as there may be."""


class Outcome(NamedTuple):
    """What became of a test."""

    answer: Answer
    took_s: float


class Trials:
    """Sends tests; belongs to one event loop.

    Args:
        sender: Connects to receivers.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._under_way: Counter[int] = Counter()
        self._threads = ThreadPoolExecutor(_MOST, thread_name_prefix="webhook-test")

    async def send(self, row: SubscriptionRow) -> Outcome:
        """Send one test and wait for what becomes of it.

        Raises:
            BusyError: It would be one too many.
        """
        key = row.project_key
        if self._under_way[key] >= _MOST_PER_PROJECT or self._under_way.total() >= _MOST:
            raise BusyError
        self._under_way[key] += 1
        sending = asyncio.get_running_loop().run_in_executor(self._threads, self._send, row)
        # Counted until the thread is free again, also where nobody waits for it any more.
        sending.add_done_callback(lambda _: self._ended(key))
        return await asyncio.shield(sending)

    def _ended(self, project_key: int) -> None:
        self._under_way[project_key] -= 1
        if not self._under_way[project_key]:
            del self._under_way[project_key]

    def _send(self, row: SubscriptionRow) -> Outcome:
        line = self._sender.line(row.url or "", row.secret or "", row.authentication)
        started_s = time.monotonic()
        try:
            answer = line.send(_message(row))
        finally:
            line.close()
        return Outcome(answer, time.monotonic() - started_s)


def _message(row: SubscriptionRow) -> Message:
    event_id = str(uuid.uuid4())
    cloudevent = {
        "specversion": "1.0",
        "id": event_id,
        "source": "/fiveobs/monitor",
        "type": "fiveobs.subscription.test",
        "datacontenttype": "application/json",
        "data": {"subscriptionId": row.subscription_id, "message": "a test: nothing happened"},
    }
    if row.job_id is not None:
        cloudevent["subject"] = row.job_id
    return Message(message_id(row.subscription_id, event_id), orjson.dumps(cloudevent))
