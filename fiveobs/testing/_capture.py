"""``capture``: a pipeline of its own, in a home of its own, with nothing sent anywhere."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from fiveobs import _bus, _runtime
from fiveobs._context import current
from fiveobs.testing._captured import SHIPPING, TRACKS, Captured, ProblemHandler, check_tracks
from fiveobs.testing._clock import FakeClock, SequentialIds, installed

#: Variables that would change what a test sees, by how their names begin, and the others.
_PREFIXES = ("FIVEOBS_", "FLUENT_BIT_", "OTEL_", "SENTRY_", "CONNECTOR_")
_NAMES = frozenset(
    (
        "BAGGAGE",
        "DISABLE_FLUENT_BIT_LOGGING",
        "MACHINE_ID",
        "METRICS_COLLECTION_INTERVAL",
        "TRACEPARENT",
        "TRACESTATE",
        "WORKER_ID",
    )
)
#: A host that never exists (RFC 2606); no connection to it is tried.
_HOST = "fiveobs.invalid"
#: What the capture sets where the test does not. Nothing is sent but when somebody looks.
_SETTINGS: Mapping[str, Any] = {
    "service": "tests",
    "worker_id": "test-worker",
    "machine_id": "test-machine",
    "fluent_bit_host": _HOST,
    "fluent_bit_protocol": "forward",
    "traces_endpoint": f"http://{_HOST}:4318/v1/traces",
    "metrics_endpoint": f"http://{_HOST}:4318/v1/metrics",
    "sentry_dsn": f"https://public@{_HOST}/1",
    "heartbeat_interval_s": 3600.0,
    "flush_interval_s": 0.05,
    "metrics_interval_s": 3600.0,
}

_is_capturing = False


@contextlib.contextmanager
def capture(
    *,
    home: Path | None = None,
    broken: Collection[str] = (),
    refusing: Collection[str] = (),
    slow: Mapping[str, float] | None = None,
    sequential_ids: bool = False,
    clock: FakeClock | None = None,
    **settings: Any,
) -> Iterator[Captured]:
    """Observe in isolation, and see what each track sends.

    The process's pipeline is ended, a new one begun with all five tracks on, and at the end the
    process goes back to what it had. Variables of the environment that fiveobs, OpenTelemetry,
    Sentry or Fluent Bit read are cleared meanwhile. Nothing is sent over a network.

    A ``TracerProvider``, ``MeterProvider`` or Sentry client that the application has set up is used
    here as it is elsewhere: then that track shows up there and not in the capture.

    Args:
        home: The ``FIVEOBS_HOME`` to use, and to leave as it is; ``None`` for a temporary folder.
        broken: Tracks whose deliveries fail until ``Captured.repair``. With ``events``, the disk
            refuses the journal.
        refusing: Tracks whose destination refuses everything for good.
        slow: How long each delivery of a track takes, in seconds.
        sequential_ids: Give out ``job-1``, trace ``00…01`` and so on, for exact assertions.
        clock: The clock that jobs go by; ``None`` for real time.
        **settings: As for ``configure()``; ``None`` switches a track's destination off, for
            example ``sentry_dsn=None``.

    Raises:
        ConfigError: A setting cannot be used.
        RuntimeError: Another capture is under way in this process.
        ValueError: ``broken``, ``refusing`` or ``slow`` names no track that it can be done to.

    Example:
        >>> with capture(broken={"logs"}) as captured:
        ...     resize("cat.png")
        >>> captured.job().status
        <JobStatus.COMPLETED: 'completed'>
    """
    check_tracks(broken, TRACKS, "broken")
    check_tracks(refusing, SHIPPING, "refusing")
    check_tracks(slow or (), SHIPPING, "slow")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_alone())
        stack.enter_context(_context())
        folder = home if home is not None else stack.enter_context(_temporary_home())
        stack.enter_context(_environment(folder))
        captured = Captured(folder, clock)
        _obstruct(captured, broken, refusing, slow or {})
        stack.enter_context(_problems(captured))
        stack.enter_context(_pipeline(captured, SequentialIds() if sequential_ids else None))
        stack.enter_context(installed(clock))
        _runtime.configure(**settings)
        yield captured


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    global _is_capturing
    if _is_capturing:
        raise RuntimeError(
            "another capture is under way: use its Captured (with the fixture fiveobs_capture, set "
            "options by the marker fiveobs)"
        )
    _is_capturing = True
    try:
        yield
    finally:
        _is_capturing = False


@contextlib.contextmanager
def _context() -> Iterator[None]:
    """Take back what a job that was never ended leaves current: itself and its span."""
    from opentelemetry import context  # loads OpenTelemetry

    job, outer = current.get(), context.get_current()
    try:
        yield
    finally:
        current.set(job)
        context.attach(outer)


@contextlib.contextmanager
def _temporary_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fiveobs-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _environment(home: Path) -> Iterator[None]:
    """Clear every variable that a track reads, and point to the home."""
    names = [name for name in os.environ if name.startswith(_PREFIXES) or name in _NAMES]
    saved = {name: os.environ.pop(name) for name in names}
    os.environ["FIVEOBS_HOME"] = str(home)
    try:
        yield
    finally:
        os.environ.pop("FIVEOBS_HOME", None)
        os.environ.update(saved)


def _obstruct(
    captured: Captured,
    broken: Collection[str],
    refusing: Collection[str],
    slow: Mapping[str, float],
) -> None:
    for track in broken:
        if track == "events":
            captured.break_journal()
        else:
            captured.break_track(track)
    for track in refusing:
        captured.refuse(track)
    for track, delay_s in slow.items():
        captured.slow_down(track, delay_s)


@contextlib.contextmanager
def _problems(captured: Captured) -> Iterator[None]:
    logger = logging.getLogger("fiveobs.internal")
    handler = ProblemHandler(captured.problems)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _pipeline(captured: Captured, ids: SequentialIds | None) -> Iterator[None]:
    """Have the process's pipelines send to the capture; end with what was delivered till then."""
    before = _bus.bus.inboxes
    with _runtime.substituted(_runtime.Substitutes(_SETTINGS, ids, captured.prepare)):
        try:
            yield
        finally:
            captured.keep()
            # A handler that a test has subscribed must not outlive it, nor hold up the end.
            for inbox in _bus.bus.inboxes:
                if inbox not in before:
                    _bus.bus._cancel(inbox)
