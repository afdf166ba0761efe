"""Whatever we are given, the job's result is right, nothing is raised, nothing is lost unsaid."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import fiveobs
from fiveobs import ConfigError, _runtime, announce_job, observe_job
from fiveobs._parsers import path
from fiveobs._settings import SETTINGS
from tests.support.otlp import OtlpReceiver
from tests.support.workers import events

BIG = 10 * 2**20


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """Begin without a pipeline and leave none."""
    _reset()
    yield
    _reset()


def _reset() -> None:
    fiveobs.shutdown()
    _runtime._overrides = {}
    _runtime._retry_at = 0.0
    _runtime.forget()


class Hostile:
    """Raises whatever is asked of it."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no eq")

    def __ne__(self, other: object) -> bool:
        raise RuntimeError("no ne")

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise RuntimeError("no bool")

    def __len__(self) -> int:
        raise RuntimeError("no len")

    def __int__(self) -> int:
        raise RuntimeError("no int")

    def __float__(self) -> float:
        raise RuntimeError("no float")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


def _myself() -> list[Any]:
    me: list[Any] = []
    me.append(me)
    return me


@functools.cache
def _deep() -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(100_000):
        value = {"deeper": value}
    return value


VALUES: dict[str, Callable[[], Any]] = {
    "object": object,
    "hostile": Hostile,
    "class": lambda: Hostile,
    "itself": _myself,
    "not a number": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "huge integer": lambda: 10**5000,
    "bytes": lambda: b"\x00\xff",
    "deep": _deep,
    "long text": lambda: "x" * BIG,
    "lone surrogate": lambda: "a\ud800b",
    "control characters": lambda: "a\x00b\nc\x1b[31m",
    "decimal": lambda: Decimal("1.5"),
    "none": lambda: None,
    "set": lambda: {1, "a", None},
    "odd keys": lambda: {1: 2, None: 3, (1, 2): 4, "\ud800": 5},
    "generator": lambda: (number for number in range(3)),
    "lock": contextlib.ExitStack,
}
each_value = pytest.mark.parametrize("make", VALUES.values(), ids=VALUES.keys())


def _ended_as(home: Path, event_type: str) -> dict[str, Any]:
    """The one job's last event; every line of the journal is JSON."""
    fiveobs.shutdown()
    assert len(events(home, "job.started")) == 1
    (event,) = events(home, event_type)
    return event


# --- what jobs are called ------------------------------------------------------------------------

NAMES = ("job_id", "session_id", "request_id", "attempt", "service", "queue", "carrier")


@each_value
@pytest.mark.parametrize("what", NAMES)
def test_any_identity_will_do(make: Callable[[], Any], what: str, fiveobs_home: Path) -> None:
    """Ids and names that cannot be used are replaced; the job runs and is recorded."""
    value = make()

    @observe_job("job", **{what: value})
    def job() -> str:
        return "result"

    assert job() == "result"
    event = _ended_as(fiveobs_home, "job.completed")
    assert event["job_id"]
    assert event["attempt"] == 1
    for key, shown in event.items():
        if isinstance(shown, str):
            assert len(shown) < 1000, key
            assert shown.isprintable() or key == "message", key


@pytest.mark.parametrize("make", [make for key, make in VALUES.items() if key != "class"])
def test_any_name_will_do(make: Callable[[], Any], fiveobs_home: Path) -> None:
    """A job's name is made printable and short, or is ``unnamed``."""
    value = make()
    with observe_job(value):
        pass
    event = _ended_as(fiveobs_home, "job.completed")
    assert 0 < len(event["job_name"]) <= 200
    assert event["job_name"].isprintable()


@pytest.mark.parametrize("name", ["", " \n\t", "\x00"])
def test_an_empty_name_is_replaced(name: str, fiveobs_home: Path) -> None:
    """Nothing is ever recorded without a name."""
    with observe_job(name, service=name, job_id=name, session_id=name) as job, job.stage(name):
        pass
    event = _ended_as(fiveobs_home, "job.completed")
    assert event["job_name"]
    assert event["service"]
    assert event["job_id"]
    assert event.get("session_id") != ""


@each_value
def test_any_announcement_will_do(make: Callable[[], Any], fiveobs_home: Path) -> None:
    """``announce_job`` gives a carrier whatever it is told."""
    value = make()
    more: dict[str, Any] = dict.fromkeys(("job_id", "session_id", "request_id", "attempt"), value)
    carrier = announce_job(value, queue=value, attributes={"value": value}, **more)
    assert carrier["traceparent"]
    with observe_job("job", carrier=carrier):
        pass
    assert _ended_as(fiveobs_home, "job.completed")["job_id"]
    assert len(events(fiveobs_home, "job.received")) == 1


def test_a_function_for_an_id_may_raise(fiveobs_home: Path) -> None:
    """What cannot be worked out for a call is left out."""

    def wrong(*args: object) -> str:
        raise KeyError("no id")

    @observe_job("job", job_id=wrong, carrier=wrong, attempt=wrong, session_id=wrong)
    def job(value: int) -> int:
        return value

    assert job(1) == 1
    assert _ended_as(fiveobs_home, "job.completed")["job_id"]


# --- what jobs say -------------------------------------------------------------------------------


@each_value
def test_any_value_can_be_said(make: Callable[[], Any], fiveobs_home: Path) -> None:
    """Attributes, messages, data, figures, arguments and results take anything."""
    value = make()

    @observe_job("job", attributes={"value": value}, capture_args=True)
    def work(given: Any, *, named: Any) -> Any:
        job = fiveobs.current_job()
        assert job is not None
        job.set(value=value)
        job.result(value=value)
        job.milestone(value, value=value, name="data may be called anything")
        job.retrying(value, delay_s=value)
        job.progress(value, value)
        job.progress(done=value, total=value)
        job.sizes(input_bytes=value)
        job.log.info(value, value=value, message="so may this")
        job.count("count", value, label=value)
        job.gauge("gauge", value, label=value)
        job.record("record", value, label=value, name="and this")
        with job.stage(value, total=value, unit=value) as stage:
            stage.advance(value, value)
            stage.advance(1)
        return given

    assert work(value, named=value) is value
    _ended_as(fiveobs_home, "job.completed")
    types = [event["event_type"] for event in events(fiveobs_home)]
    for expected in ("job.milestone", "job.retrying", "log", "stage.started", "stage.completed"):
        assert expected in types


@each_value
def test_any_error_can_be_raised(make: Callable[[], Any], fiveobs_home: Path) -> None:
    """The caller gets the exception as it is, however odd its arguments are."""
    error = ValueError(make())
    with pytest.raises(ValueError) as caught, observe_job("job"):
        raise error
    assert caught.value is error
    assert _ended_as(fiveobs_home, "job.failed")["data"]["error"]["type"] == "ValueError"


def test_an_error_that_cannot_be_shown_can_be_raised(fiveobs_home: Path) -> None:
    """An exception whose own methods raise still ends its job as failed."""

    class OddError(Exception):
        __str__ = __repr__ = Hostile.__repr__

        @property
        def __notes__(self) -> Any:
            raise RuntimeError("no notes")

        def __setattr__(self, name: str, value: Any) -> None:
            raise RuntimeError("no attributes")

    with pytest.raises(OddError), observe_job("job"):
        raise OddError
    assert "OddError" in _ended_as(fiveobs_home, "job.failed")["data"]["error"]["type"]


@pytest.mark.parametrize(
    "options", [{"attributes": 5}, {"attributes": [1]}, {"stages": 5}, {"stages": [Hostile()]}]
)
def test_options_of_another_kind_are_left_out(options: Any, fiveobs_home: Path) -> None:
    """What is no mapping of attributes and no list of stages does not keep a job from running."""
    with observe_job("job", **options):
        pass
    _ended_as(fiveobs_home, "job.completed")


def test_odd_measures_do_not_stop_the_others(fiveobs_home: Path) -> None:
    """Figures that do not fit into a metric leave the metrics track working."""
    with OtlpReceiver(with_grpc=False) as there:
        fiveobs.configure(metrics_endpoint=there.endpoint, metrics_interval_s=60)
        with observe_job("job") as job:
            for name, make in VALUES.items():
                with contextlib.suppress(ZeroDivisionError):
                    job.gauge(f"gauge.{name}"[:9], make(), label=make())
                    job.count("count", make())
                    job.record("record", make())
            for value in ("5", Decimal("1.5"), 10**30, 2**62, 2**62, 2**62, True):
                job.gauge("odd", value)  # type: ignore[arg-type]
                job.count("odd.count", value)  # type: ignore[arg-type]
        log = fiveobs.ConnectorLogger("connector")
        log.job_completed(job_id="a", duration_s="soon", status=["?"], error=3)  # type: ignore[arg-type]
        log.job_started(job_id="a", queue_wait_s=1.0, queue=None)
        assert fiveobs.flush(10)
        there.wait_for(lambda it: "jobs.processed" in it.metric_totals)
    assert there.metric_totals["odd"] == 1
    assert there.metric_totals["odd.count"] > 3 * 2**62


# --- carriers ------------------------------------------------------------------------------------

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "carrier",
    [
        5,
        "traceparent",
        b"traceparent",
        object(),
        [],
        [1, 2],
        [("traceparent",)],
        [("traceparent", GOOD, "more")],
        {"traceparent": None},
        {"traceparent": []},
        {"traceparent": {}},
        {None: GOOD},
        {"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01"},
        {"traceparent": "ff" + GOOD[2:]},
        {"traceparent": GOOD[:-1]},
        {"traceparent": GOOD + "-more"},
        {"traceparent": GOOD.upper()},
        {"traceparent": "x" * BIG},
        {"traceparent": "\ud800" * 55},
        {"baggage": "fiveobs.job_id=" + "x" * 2**20},
        {"baggage": "fiveobs.job_id=%ff%00%0a,,,=,;=;"},
        {"baggage": "fiveobs.attempt=-1,fiveobs.queued_at_ns=" + "9" * 40},
        {"baggage": "," * 8000},
        {"tracestate": "x" * BIG, "traceparent": GOOD},
        {f"header-{number}": "x" for number in range(100_000)},
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value))[:40],
)
def test_a_hostile_carrier_is_harmless(carrier: Any, fiveobs_home: Path) -> None:
    """What cannot be read is ignored: the job begins a trace and has an id."""
    with observe_job("job", carrier=carrier):
        pass
    event = _ended_as(fiveobs_home, "job.completed")
    assert len(event["trace_id"]) == 32
    assert set(event["trace_id"]) != {"0"}
    assert 0 < len(event["job_id"]) <= 256
    assert event["attempt"] == 1


def test_a_carrier_that_raises_is_harmless(fiveobs_home: Path) -> None:
    """A mapping may fail in the middle of being read."""

    class Broken(dict[str, str]):
        def items(self) -> Any:
            yield "traceparent", GOOD
            raise RuntimeError("connection lost")

    with observe_job("job", carrier=Broken()):
        pass
    assert _ended_as(fiveobs_home, "job.completed")["job_id"]


@pytest.mark.parametrize(
    "carrier",
    [
        {"TraceParent": GOOD, "BAGGAGE": "fiveobs.job_id=j-1"},
        {b"traceparent": GOOD.encode(), b"baggage": b"fiveobs.job_id=j-1"},
        [("traceparent", GOOD), ("baggage", "other=1, fiveobs.job_id=j-1;property")],
        ((b"TRACEPARENT", GOOD.encode()), (b"Baggage", b"fiveobs.job_id=j-1")),
        {"traceparent": [GOOD], "baggage": ["fiveobs.job_id=j-1"]},
        {"traceparent": GOOD, "baggage": "fiveobs.job_id=j%2D1"},
    ],
    ids=["any case", "bytes", "pairs", "pairs of bytes", "lists", "percent-encoded"],
)
def test_a_carrier_comes_in_many_forms(carrier: Any, fiveobs_home: Path) -> None:
    """However a queue's client brings headers, they are understood."""
    with observe_job("job", carrier=carrier):
        pass
    event = _ended_as(fiveobs_home, "job.completed")
    assert event["trace_id"] == GOOD[3:35]
    assert event["job_id"] == "j-1"


# --- settings ------------------------------------------------------------------------------------

#: Settings for which any text is good.
_ANY_TEXT = {
    "service", "worker_id", "machine_id", "fluent_bit_tag", "fluent_bit_shared_key",
    "fluent_bit_username", "fluent_bit_password", "sentry_environment", "sentry_release",
    "redact_keys",
}  # fmt: skip
_BAD = "://["
_BAD_SETTINGS = [
    (setting, name)
    for setting in SETTINGS
    if setting.attr not in _ANY_TEXT and setting.parse is not path
    for name in setting.env
    if name not in setting.readers
]


@pytest.mark.parametrize(
    ("setting", "name"), _BAD_SETTINGS, ids=[f"{s.attr}-{n}" for s, n in _BAD_SETTINGS]
)
def test_a_bad_variable_does_not_stop_a_job(
    setting: Any,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fiveobs_home: Path,
) -> None:
    """It is reported once, its default is used, and ``configure()`` refuses it by name."""
    monkeypatch.setenv(name, _BAD)
    with caplog.at_level(logging.WARNING, "fiveobs.internal"):
        for _ in range(3):
            with observe_job("job"):
                pass
    reports = [record.getMessage() for record in caplog.records if name in record.getMessage()]
    assert len(reports) == 1
    assert reports[0].startswith(f"setting {name}: is ")
    assert len(events(fiveobs_home, "job.completed")) == 3
    with pytest.raises(ConfigError, match=name) as refused:
        fiveobs.configure()
    if not setting.secret:
        assert _BAD in str(refused.value)


@pytest.mark.parametrize("key", sorted(VALUES.keys() - {"none", "decimal"}))
def test_configure_refuses_what_is_no_setting(key: str) -> None:
    """Anything that is no number of seconds is refused by name, with a ``ConfigError``."""
    with pytest.raises(ConfigError, match="heartbeat_interval_s"):
        fiveobs.configure(heartbeat_interval_s=VALUES[key]())


# --- disks and clocks ----------------------------------------------------------------------------


def _is_accounted_for() -> None:
    pipeline = _runtime.get()
    assert pipeline is not None
    for track, sums in pipeline.accounting().items():
        assert sums.accepted == sums.delivered + sums.pending + sums.dropped, track
        assert min(sums) >= 0 if isinstance(sums, tuple) else True


def test_a_home_that_cannot_be_written_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Events wait in memory, which is said once; the job runs."""
    file = tmp_path / "a file"
    file.write_text("")
    monkeypatch.setenv("FIVEOBS_HOME", str(file / "home"))
    with caplog.at_level(logging.WARNING, "fiveobs.internal"):
        for number in range(100):
            assert observe_job("job")(lambda number=number: number)() == number
    pipeline = _runtime.get()
    assert pipeline is not None
    sums = pipeline.accounting()["events"]
    assert sums.accepted == 201
    assert sums.pending == 201
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "using memory" in said[0]


def test_memory_that_is_full_drops_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With neither disk nor memory the oldest go, and the sums say so."""
    file = tmp_path / "a file"
    file.write_text("")
    monkeypatch.setenv("FIVEOBS_HOME", str(file / "home"))
    monkeypatch.setenv("FIVEOBS_JOURNAL_MEMORY_BYTES", "600000")
    for _ in range(3000):
        with observe_job("job"):
            pass
    pipeline = _runtime.get()
    assert pipeline is not None
    sums = pipeline.accounting()["events"]
    assert sums.accepted == 6001
    assert sums.dropped > 0
    assert sums.pending > 0
    _is_accounted_for()


class FullDisk:
    """Stands in for ``os.write``: refuses journal lines while it is full, after half a line."""

    def __init__(self) -> None:
        self.is_full = False
        self._write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if self.is_full:
            if len(data) % 2:
                return self._write(fd, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(fd, data)


def test_a_full_disk_loses_nothing_that_fits_into_memory(
    monkeypatch: pytest.MonkeyPatch, fiveobs_home: Path
) -> None:
    """While it is full events wait in memory; when there is room again they are all written."""
    disk = FullDisk()
    monkeypatch.setattr("fiveobs.journal.segments.write_for", lambda folder: disk)
    for number in range(300):
        disk.is_full = 100 <= number < 200
        assert observe_job("job", job_id=str(number))(lambda: 7)() == 7
        pipeline = _runtime.get()
        assert pipeline is not None
        if number % 30 == 0:
            pipeline.journal.maintain()
    _is_accounted_for()
    fiveobs.shutdown()
    ids = [event["job_id"] for event in events(fiveobs_home, "job.completed")]
    assert sorted(ids, key=int) == [str(number) for number in range(300)]


def test_a_disk_that_fills_up_again_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, fiveobs_home: Path
) -> None:
    """Room for what waits but not for a new file is no reason to lose what comes next."""
    from fiveobs.journal.writer import Journal

    disk = FullDisk()
    monkeypatch.setattr("fiveobs.journal.segments.write_for", lambda folder: disk)
    with observe_job("job", job_id="1"):
        pass
    disk.is_full = True
    with observe_job("job", job_id="2"):
        pass
    disk.is_full = False
    new_file = Journal._new_file

    def refused(self: Journal) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Journal, "_new_file", refused)
    pipeline = _runtime.get()
    assert pipeline is not None
    pipeline.journal.maintain()
    with observe_job("job", job_id="3"):
        pass
    monkeypatch.setattr(Journal, "_new_file", new_file)
    pipeline.journal.maintain()
    _is_accounted_for()
    fiveobs.shutdown()
    assert [event["job_id"] for event in events(fiveobs_home, "job.completed")] == ["1", "2", "3"]


def test_a_clock_that_jumps_back_makes_no_negative_duration(
    monkeypatch: pytest.MonkeyPatch, fiveobs_home: Path
) -> None:
    """Durations come from another clock; a wait that would be negative is 0."""
    real, offset = time.time_ns, [0]
    for module in [module for name, module in sys.modules.items() if name.startswith("fiveobs.")]:
        if getattr(module, "time_ns", None) is real:
            monkeypatch.setattr(module, "time_ns", lambda: real() + offset[0])
    monkeypatch.setattr(time, "time_ns", lambda: real() + offset[0])
    carrier = announce_job("job", queue="q")
    offset[0] = -3600 * 10**9
    with observe_job("job", carrier=carrier) as job:
        offset[0] = -7200 * 10**9
        with job.stage("stage"):
            offset[0] = 0
    event = _ended_as(fiveobs_home, "job.completed")
    assert 0 <= event["data"]["duration_s"] < 10
    (started,) = events(fiveobs_home, "job.started")
    assert started["data"]["queue_wait_s"] == 0
    (stage,) = events(fiveobs_home, "stage.completed")
    assert 0 <= stage["data"]["duration_s"] < 10
    seqs = [event["seq"] for event in events(fiveobs_home)]
    assert seqs == sorted(seqs)
