"""What a carrier says, and what it cannot say: W3C Trace Context, baggage, hostile input."""

from __future__ import annotations

import http.client
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveobs import announce_job, observe_job
from fiveobs._carrier import Link, read_carrier, write_carrier
from fiveobs.testing import capture

T = "4bf92f3577b34da6a3ce929d0e0e4736"
S = "00f067aa0ba902b7"
GOOD = f"00-{T}-{S}-01"

ids = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Zs")), min_size=1)
hexes = "0123456789abcdef"


# --- round trip ---


@given(
    job_id=ids,
    parent_job_id=st.none() | ids,
    session_id=st.none() | ids,
    request_id=st.none() | ids,
    attempt=st.none() | st.integers(1, 1_000_000),
    queued_at_ns=st.none() | st.integers(1, 1 << 62),
    sampled=st.booleans(),
)
def test_what_is_written_is_read(**said: Any) -> None:
    """Every id that fits comes back, whatever characters it has."""
    link = Link(trace_id=T, span_id=S, tracestate="a=1", queue="images", **said)
    if sum(len(str(value).encode()) * 3 for value in link if value is not None) < 2000:
        assert read_carrier(write_carrier(link)) == link


def test_absent_ids_are_left_out() -> None:
    """Nothing known makes no header; ids without a trace make baggage only."""
    assert write_carrier(Link()) == {}
    assert write_carrier(Link(job_id="7")) == {"baggage": "fiveobs.job_id=7"}


# --- traceparent ---


@pytest.mark.parametrize(
    "header",
    [
        GOOD,
        f"00-{T}-{S}-00",
        f"  {GOOD}\t",
        f"cc-{T}-{S}-01",
        f"cc-{T}-{S}-01-what-the-future-will-be-like",
        f"00-{T}-{S}-ff",
    ],
)
def test_a_valid_traceparent_is_taken(header: str) -> None:
    """Also of versions to come, of which only the known part is read."""
    link = read_carrier({"traceparent": header})
    assert (link.trace_id, link.span_id) == (T, S)
    assert link.sampled is (header.strip()[53:55] != "00")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "garbage",
        f"ff-{T}-{S}-01",
        f"{GOOD}.",
        f"{GOOD}-",
        f"{GOOD}-what-the-future-will-be-like",
        f"cc-{T}-{S}-01.what",
        f"0-{T}-{S}-01",
        f"000-{T}-{S}-01",
        f".0-{T}-{S}-01",
        f"00-{'0' * 32}-{S}-01",
        f"00-{T}-{'0' * 16}-01",
        f"00-{T[:-1]}-{S}-01",
        f"00-{T}0-{S}-01",
        f"00-{T}-{S[:-1]}-01",
        f"00-{T}-{S}0-01",
        f"00-{T[:-1]}.-{S}-01",
        f"00-{T.upper()}-{S}-01",
        f"00-{T}-{S.upper()}-01",
        f"00-{T}-{S}-1",
        f"00-{T}-{S}-001",
        f"00-{T}-{S}-0x",
        f"00-{T}-{S}-01\n{GOOD}",
    ],
)
def test_an_invalid_traceparent_is_ignored(header: str) -> None:
    """A new trace is begun; baggage is read all the same."""
    link = read_carrier({"traceparent": header, "tracestate": "a=1", "baggage": "fiveobs.job_id=7"})
    assert link == Link(job_id="7")


@pytest.mark.parametrize("name", ["traceparent", "TraceParent", "TRACEPARENT", b"TraceParent"])
def test_names_may_be_of_any_case(name: Any) -> None:
    """And bytes, as ASGI and Kafka have them."""
    assert read_carrier({name: GOOD.encode()}).trace_id == T


@pytest.mark.parametrize("name", ["trace-parent", "trace.parent", "xtraceparent", "traceparentx"])
def test_other_names_are_not_taken(name: str) -> None:
    """Only the header's own name counts."""
    assert read_carrier({name: GOOD}) == Link()


def test_two_traceparents_are_none() -> None:
    """Two that differ name no parent; the same one twice is one."""
    other = f"00-{T[::-1]}-{S}-01"
    assert read_carrier([("traceparent", GOOD), ("TraceParent", other)]) == Link()
    assert read_carrier([("traceparent", GOOD), ("Traceparent", GOOD)]).trace_id == T


# --- tracestate ---


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        (["foo=1,bar=2"], "foo=1,bar=2"),
        (["foo=1", "bar=2"], "foo=1,bar=2"),
        (["foo=1 \t , \t bar=2, ", ""], "foo=1,bar=2"),
        (["0tenant-a@sys=v!", "_="], ""),
        (["0tenant-a@sys=v!"], "0tenant-a@sys=v!"),
        (["Foo=1"], ""),
        (["foo =1"], ""),
        (["foo=1=2"], ""),
        (["foo"], ""),
        (["foo@=1"], ""),
        ([",".join(f"k{n}=1" for n in range(32))], ",".join(f"k{n}=1" for n in range(32))),
        ([",".join(f"k{n}=1" for n in range(33))], ""),
        ([f"k={'v' * 256}"], f"k={'v' * 256}"),
        ([f"k={'v' * 257}"], ""),
        ([f"a={'v' * 250}", f"b={'v' * 250}", f"c={'v' * 250}"], ""),
    ],
)
def test_a_tracestate_is_passed_on_or_dropped(given: list[str], passed_on: str) -> None:
    """Headers are joined; one that is malformed or too large is dropped, and the trace goes on."""
    link = read_carrier([("traceparent", GOOD), *(("tracestate", each) for each in given)])
    assert (link.trace_id, link.tracestate) == (T, passed_on)


def test_tracestate_without_traceparent_is_dropped() -> None:
    """It says nothing by itself."""
    assert read_carrier({"tracestate": "a=1"}).tracestate == ""


def test_a_job_passes_the_tracestate_on() -> None:
    """From its carrier to those of itself and of the jobs within, in the same trace."""
    headers = {"traceparent": GOOD, "tracestate": "vendor=x"}
    with capture(), observe_job("outer", carrier=headers) as outer:
        assert outer.carrier()["tracestate"] == "vendor=x"
    with capture(traces_endpoint=None), observe_job("outer", carrier=headers):
        with observe_job("inner") as inner:
            assert inner.carrier()["tracestate"] == "vendor=x"
        with observe_job("other", carrier={"traceparent": f"00-{'1' * 32}-{S}-01"}) as other:
            assert "tracestate" not in other.carrier()


# --- the carrier's form ---


def _message() -> http.client.HTTPMessage:
    text = f"Traceparent: {GOOD}\r\nbaggage: fiveobs.job_id=7\r\n\r\n"
    return http.client.parse_headers(io.BytesIO(text.encode()))


@pytest.mark.parametrize(
    "carrier",
    [
        {"traceparent": GOOD, "baggage": "fiveobs.job_id=7"},
        [("traceparent", GOOD), ("baggage", "fiveobs.job_id=7")],
        [[b"traceparent", GOOD.encode()], [b"baggage", b"fiveobs.job_id=7"]],
        {"traceparent": [GOOD], "baggage": ["a=b", "fiveobs.job_id=7"]},
        {"traceparent": (GOOD,), "baggage": ("fiveobs.job_id=7",)},
        [("traceparent", GOOD), ("baggage", "a=b"), ("baggage", "fiveobs.job_id=7;p=1")],
        {"traceparent": memoryview(GOOD.encode()), "baggage": bytearray(b"fiveobs.job_id=7")},
        iter([("traceparent", GOOD), ("baggage", " fiveobs.job_id = 7 ")]),
        _message(),
    ],
)
def test_carriers_have_many_forms(carrier: Any) -> None:
    """Mappings, pairs, lists of values, repeated headers, the standard library's messages."""
    link = read_carrier(carrier)
    assert (link.trace_id, link.job_id) == (T, "7")


class Hostile:
    """Raises whatever is done with it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    __str__ = __iter__ = __len__ = lambda self: 1 / 0  # type: ignore[assignment]


@pytest.mark.parametrize(
    "carrier",
    [
        None,
        7,
        "traceparent",
        GOOD.encode(),
        object(),
        Hostile(),
        {"traceparent": Hostile(), "baggage": Hostile()},
        {Hostile(): GOOD},
        {"traceparent": None, "baggage": 7},
        {"traceparent": []},
        [("traceparent",), "x", None, ("a", "b", "c")],
        {"baggage": "=,;,fiveobs.=1,fiveobs.job_id=,%,fiveobs.attempt=x" * 50},
        {"baggage": "fiveobs.job_id=" + "x" * 100_000},
        {"x" * 1_000_000: "y" * 1_000_000},
        (("traceparent", "x") for _ in iter(int, 1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_hostile_carrier_says_nothing(carrier: Any) -> None:
    """It neither raises nor takes long, and no id comes of it."""
    assert read_carrier(carrier) == Link()


@given(
    st.dictionaries(
        st.sampled_from(["traceparent", "tracestate", "baggage"]) | st.text(),
        st.text() | st.binary() | st.none() | st.lists(st.text()),
    )
)
def test_no_carrier_raises(carrier: Any) -> None:
    """Whatever it holds, what is read is a link with ids that fit."""
    link = read_carrier(carrier)
    assert all(
        len(part) <= 256 for part in link if isinstance(part, str) and part != link.tracestate
    )


@pytest.mark.parametrize(
    ("member", "field"),
    [
        ("fiveobs.attempt=0", "attempt"),
        ("fiveobs.attempt=-1", "attempt"),
        ("fiveobs.attempt=1000001", "attempt"),
        ("fiveobs.attempt=\u0663", "attempt"),
        (f"fiveobs.queued_at_ns={'9' * 30}", "queued_at_ns"),
        ("fiveobs.queue=%0A", "queue"),
        ("job_id=7", "job_id"),
        ("fiveobs.admin=1", "job_id"),
    ],
)
def test_numbers_and_names_have_bounds(member: str, field: str) -> None:
    """What is out of bounds or not on the list is left out."""
    link = read_carrier({"baggage": member})
    assert getattr(link, field) in (None, "_")


def test_control_characters_do_not_get_into_ids() -> None:
    """A line break in an id would be a second line in somebody's log."""
    assert read_carrier({"baggage": "fiveobs.job_id=a%0D%0Ab"}).job_id == "a__b"


# --- in jobs ---


def test_a_hostile_carrier_costs_the_job_nothing_but_its_parent() -> None:
    """The job runs in a trace of its own."""
    with capture() as captured:
        with observe_job("read", carrier=Hostile()):
            pass
        job = captured.job()
        assert job.status == "completed"
        assert job.span is not None
        assert job.span["parent_span_id"] is None


def test_an_announced_job_keeps_queue_and_attempt() -> None:
    """What was announced is what runs: ids, attempt, queue and when it was put there."""
    with capture() as captured:
        headers = announce_job("resize", job_id="7", session_id="s", attempt=3, queue="images")
        with observe_job("resize", carrier=headers) as job:
            assert (job.job_id, job.session_id, job.attempt, job.queue) == ("7", "s", 3, "images")
        started = captured.events_of("job.started")[0]
        assert started.data["queue_wait_s"] >= 0


# --- a job that is started on account of another one ---


def test_a_carrier_may_name_the_parent() -> None:
    """The job has it as its parent on every record, unless it runs within another one here."""
    headers = write_carrier(Link(job_id="child", parent_job_id="elsewhere"))
    with capture() as captured:
        with observe_job("a", carrier=headers):
            pass
        with observe_job("outer", job_id="here"), observe_job("b", carrier=headers):
            pass
        with observe_job("c", carrier=write_carrier(Link(job_id="x", parent_job_id="x"))):
            pass
    found = {
        (event.record["job_name"], event.record.get("parent_job_id"))
        for event in captured.events
        if event.job_id is not None
    }
    assert found == {("a", "elsewhere"), ("outer", None), ("b", "here"), ("c", None)}
