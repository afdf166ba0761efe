"""Children of pools that leave by os._exit: what tells us of their end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fiveobs
from fiveobs import _runtime, observe_job
from tests.support.workers import events


class Signal:
    """Sends as Celery's signals do: by keyword, to each receiver once."""

    def __init__(self) -> None:
        self.receivers: dict[int, Callable[..., None]] = {}

    def connect(self, receiver: Callable[..., None], *, weak: bool) -> None:
        assert not weak  # nobody else would keep the receiver
        self.receivers[id(receiver)] = receiver

    def send(self, **named: Any) -> None:
        for receiver in self.receivers.values():
            receiver(signal=self, **named)


def test_celery_tells_of_the_end_of_a_child(
    fiveobs_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Celery is loaded, its worker_process_shutdown ends what is open and flushes."""
    shutdown = Signal()
    signals = SimpleNamespace(worker_process_shutdown=shutdown)
    monkeypatch.setitem(sys.modules, "celery.signals", signals)
    monkeypatch.setattr(_runtime, "_exiting", False)
    fiveobs.configure()
    _runtime._hook_pool_exit()
    _runtime._hook_pool_exit()  # as in a child of a process that had done it already
    with observe_job("task"):
        shutdown.send(sender="celery@host", pid=1, exitcode=0)
    assert [each["event_type"] for each in events(fiveobs_home)][-2:] == [
        "job.interrupted",
        "worker.stopped",
    ]
    assert not list((fiveobs_home / "journal").glob("*.lock"))
