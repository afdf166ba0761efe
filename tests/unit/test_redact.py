"""One walk makes any value fit for JSON and takes the secrets out of it."""

from __future__ import annotations

import enum
import json
import math
import time
import uuid
from collections import OrderedDict, UserDict, deque
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveobs._redact import REDACTED, Redactor

redactor = Redactor()
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "name",
    [
        *("password", "Passwd", "user_password", "userPassword", "DB_PASSWORD_2", "password_hash"),
        *("token", "access_token", "accessToken", "x-csrf-token", "session_token", "secret"),
        *("client_secret", "api_key", "apiKey", "X-API-Key", "apikey", "APIKey", "authorization"),
        *("Proxy-Authorization", "cookie", "Set-Cookie", "dsn", "SENTRY_DSN", "private_key"),
        *("AWS_SECRET_ACCESS_KEY", "credential", "credentials", "card_number", "passphrase"),
    ],
)
def test_a_value_under_a_secret_name_is_redacted(name):
    """Whatever the spelling and the value, the name is enough."""
    for value in ("x", 7, None, ["a"], {"b": 1}):
        assert redactor.clean({"n": 1, name: value}) == {"n": 1, name: REDACTED}


@pytest.mark.parametrize(
    "name",
    [
        *("token_count", "tokens", "max_tokens", "tokenizer", "author", "authors", "monkey"),
        *("keyboard", "secretary", "primary_key", "public_key", "cookies_enabled", "dsnip"),
        *("password_file", "session_id", "request_id", "token_type", "key", "name"),
    ],
)
def test_a_name_that_only_resembles_a_secret_is_kept(name):
    """Words are compared whole."""
    assert redactor.clean({name: "plain"}) == {name: "plain"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bearer abc.def-123", "Bearer [redacted]"),
        ("use Basic dXNlcjpwYXNz now", "use Basic [redacted] now"),
        ("Authorization: Bearer abc", "Authorization: [redacted]"),
        ("https://me:pw@host/x", "https://[redacted]@host/x"),
        ("postgres://app:p/w@db:5432/x", "postgres://app:[redacted]@db:5432/x"),
        ("https://0a1b@o1.ingest.sentry.io/42", "https://[redacted]@o1.ingest.sentry.io/42"),
        (f"jwt {JWT}!", "jwt [redacted]!"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
        (
            f"with fiveobs_{'9f2c41d07ab3e815'}_{'x-Y_1' * 8}abc it works",
            "with [redacted] it works",
        ),
        ("fiveobs_job_duration_seconds_bucket", "fiveobs_job_duration_seconds_bucket"),
        (f"a {PEM} b", "a [redacted] b"),
        (PEM[:40], "[redacted]"),
        ("password=hunter2", "password=[redacted]"),
        ("db password: hunter2, ok", "db password: [redacted], ok"),
        ("{'api_key': 'a b', 'n': 1}", "{'api_key': '[redacted]', 'n': 1}"),
        ('{"token": "abc"}', '{"token": "[redacted]"}'),
        ('{\\"token\\": \\"abc\\"}', '{\\"token\\": \\"[redacted]\\"}'),
        ("url?access_token=abc&x=1", "url?access_token=[redacted]&x=1"),
        ("run --api-key abc --x", "run --api-key [redacted] --x"),
        ("Cookie: a=b; c=d", "Cookie: [redacted]"),
        ("paid with 4111 1111 1111 1111.", "paid with [redacted]."),
        ("paid with 4111111111111111", "paid with [redacted]"),
        ("amex 3782-822463-10005", "amex [redacted]"),
        ("sk-1234567890abcdefghij", "[redacted]"),
        ("ghp_abcdefghij0123456789", "[redacted]"),
        ("xoxb-123456789012-abc", "[redacted]"),
    ],
)
def test_a_secret_is_found_by_its_shape(text, expected):
    """What surrounds it stays, and doing it twice changes nothing."""
    assert redactor.text(text) == expected
    assert redactor.text(expected) == expected
    assert redactor.clean(["x", text]) == ["x", expected]
    assert redactor.text("x " * 200 + text) == "x " * 200 + expected


@pytest.mark.parametrize(
    "text",
    [
        *("token_count=5, tokens: 7", "author=Bob", "http://registry:5000/@scope/pkg"),
        *("basic authentication is off", "4111111111111112", "1234 5678 9012 3456"),
        *("job_id=4111111111111111", "sk-learn-pipeline-training", "2026-01-01T10:00:00.000001Z"),
        *("password=", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "mail me@x.org"),
    ],
)
def test_what_is_no_secret_is_kept(text):
    """Counts, names, times and ids come through."""
    assert redactor.text(text) == text


@given(st.uuids(version=4), st.binary(min_size=16, max_size=16), st.integers(0, 2**63 - 1))
def test_ids_are_never_touched(identifier, raw, number):
    """Uuids, hex ids and numbers come through, bare and in a sentence, under any plain name."""
    for shown in (str(identifier), identifier.hex, raw.hex()):
        data = {"job_id": shown, "other": shown, "list": [shown], "text": f"job {shown} done"}
        assert redactor.clean(data) == data
    assert redactor.clean({"span_id": str(number)}) == {"span_id": str(number)}
    assert redactor.clean([number]) == [number]


def test_digits_under_the_name_of_an_id_are_no_card_number():
    """An id of digits only may well pass Luhn."""
    data = {"job_id": "4111111111111111", "ids": ["4111111111111111"], "spanId": "4111111111111111"}
    assert redactor.clean(data) == data
    assert redactor.clean({"note": "4111111111111111"}) == {"note": REDACTED}


def test_users_add_names_and_patterns():
    """Their names match anywhere in a name and in text, their patterns in text."""
    own = Redactor(keys=["patient name"], patterns=[r"P-\d+", "x*"])
    cleaned = own.clean({"thePatientName": "Bob", "note": "P-12 patient_name=Bob ok"})
    assert cleaned == {"thePatientName": REDACTED, "note": "[redacted] patient_name=[redacted] ok"}
    assert own.text("P-1") == REDACTED


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((None, None), (True, True), (1.5, 1.5), (-(2**63), -(2**63)), (2**63, str(2**63))),
        *((math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")),
        *((b"abc", "<3 bytes>"), (memoryview(b"ab"), "<2 bytes>"), (Color.RED, "red")),
        *((Level.HIGH, 3), (Decimal("1.50"), "1.50"), (Path("/a/b"), "/a/b")),
        *((date(2026, 1, 2), "2026-01-02"), (uuid.UUID(int=1), str(uuid.UUID(int=1)))),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        *(((1, 2), [1, 2]), ({3}, [3]), (frozenset({4}), [4]), (deque([5]), [5])),
        *(
            (Point(1, 2), [1, 2]),
            (OrderedDict(a=1), {"a": 1}),
            (MappingProxyType({"a": 1}), {"a": 1}),
        ),
        *((UserDict(a=1), {"a": 1}), ({1: 2, None: 3}, {"1": 2, "None": 3})),
        *(
            ({Color.RED: 1, b"k": 2, (1,): 3}, {"red": 1, "<1 bytes>": 2, "(1,)": 3}),
            ("\0\x07", "\0\x07"),
        ),
        *(("a\ud800b", "a\ufffdb"), ("é✓", "é✓")),
        (("Authorization", "x"), ["Authorization", REDACTED]),
    ],
)
def test_every_type_has_a_json_form(value, expected):
    """Each type becomes what JSON can hold, alone and inside."""
    assert redactor.clean(value) == expected
    assert redactor.clean({"a": [value]}) == {"a": [expected]}


def test_an_integer_too_long_to_write_is_measured():
    """Python refuses to write more than 4,300 digits."""
    assert redactor.clean(10**5000) == "<integer of 16610 bits>"


def test_a_generator_is_not_consumed():
    """Looking must not change what the job will see."""
    generator = (n for n in [1, 2])
    assert "generator" in str(redactor.clean({"g": generator}))
    assert list(generator) == [1, 2]


def test_long_text_is_cut_visibly():
    """16 KiB stay, and what is gone is counted."""
    assert redactor.clean("x y" * 10_000) == ("x y" * 10_000)[:16384] + "…[cut 13616 characters]"
    assert JWT[:20] not in str(redactor.clean("x " * 8180 + JWT + " x" * 500))


def test_large_containers_are_cut_visibly():
    """256 items stay, and what is gone is counted."""
    cleaned = redactor.clean(list(range(1000)))
    assert len(cleaned) == 257
    assert cleaned[-1] == "…[cut 744 items]"
    assert redactor.clean({str(n): n for n in range(300)})["…"] == "[cut 44 items]"


def test_depth_cycles_and_size_are_bounded():
    """No value makes the walk long."""
    loop: list = [1]
    loop.append({"again": loop})
    assert redactor.clean(loop) == [1, {"again": "<cycle>"}]
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    assert "nested too deep" in json.dumps(redactor.clean(deep), ensure_ascii=False)
    shared = [[1] * 200] * 200
    assert len(json.dumps(redactor.clean([shared] * 200))) < 200_000
    assert len(json.dumps(redactor.clean(["x" * 16_000] * 250))) < 300_000


class Hostile:
    def _raise(self, *_args):
        raise ValueError("hostile")

    __repr__ = __str__ = __iter__ = __len__ = __getattr__ = __eq__ = __hash__ = _raise
    __class__ = property(_raise)


class HostileDict(dict):
    items = keys = __iter__ = __len__ = __getitem__ = Hostile._raise


class HostileList(list):
    __iter__ = __len__ = __getitem__ = Hostile._raise


class HostileMeta(type):
    __name__ = property(Hostile._raise)

    def __getattribute__(cls, name):
        raise ValueError("hostile")


class Nameless(metaclass=HostileMeta):
    def __repr__(self):
        raise ValueError("hostile")


class Text(str):
    __slots__ = ()
    __str__ = __repr__ = __len__ = __eq__ = Hostile._raise
    __hash__ = str.__hash__


class Number(int):
    __int__ = __repr__ = __str__ = Hostile._raise


def test_nothing_hostile_raises():
    """A value that raises wherever it is touched costs its own content only."""
    values = [Hostile(), HostileDict(a=1), HostileList([1]), Text("abc"), Number(5), Nameless()]
    assert redactor.clean([*values, 7]) == [
        *("<unprintable Hostile>", {"a": 1}, [1], "abc", 5, "<unprintable object>"),
        7,
    ]
    assert redactor.clean({Text("password"): 1}) == {"password": REDACTED}
    assert redactor.text(Text("abc")) == "abc"


def test_an_array_is_not_written_out():
    """Writing out a tensor may wait for a GPU."""

    class Tensor:
        shape, dtype = (2, 3), "float32"

        def __repr__(self):
            raise AssertionError("not to be called")

    assert redactor.clean(Tensor()) == "<Tensor (2, 3)>"


def test_an_objects_repr_is_cut_and_redacted():
    """What an object says of itself is text like any other."""

    class Connection:
        def __repr__(self):
            return "Connection(password='hunter2')" + "x" * 5000

    cleaned = str(redactor.clean(Connection()))
    assert cleaned.startswith("Connection(password='[redacted]')")
    assert len(cleaned) < 1100


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner)
    ),
)


@given(ANYTHING)
def test_the_result_is_strict_json_and_stays_the_same(value):
    """Any value can be written, and cleaning what is clean changes nothing."""
    cleaned = redactor.clean(value)
    json.dumps(cleaned, allow_nan=False).encode()
    assert redactor.clean(cleaned) == cleaned


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "a",
            "=",
            ":",
            "-",
            "--",
            "@",
            "://",
            "://a:",
            "http://a",
            "eyJ",
            "eyJ-",
            "eyJ.",
            "A",
            "AKIA",
        ),
        *("password", "password=", "password='", 'token":"', "--token ", "--a", "4111 ", "4111"),
        *(
            "-----BEGIN PRIVATE KEY-----",
            "bearer ",
            "basic a",
            "sk-",
            "SG.a",
            "cookie: ",
            "\\",
            " ",
        ),
        *("é", "\ud800", "auth_key ", "secret :", "xoxb-", "basic aaaaaaaa", "https://a:b"),
    ],
)
def test_a_megabyte_of_anything_is_done_soon(unit):
    """No pattern backtracks without bound: of a megabyte, that would take hours, not seconds."""
    started = time.thread_time()
    redactor.clean({"a": unit * (2**20 // len(unit)), "b": [unit * 100] * 20})
    assert time.thread_time() - started < 30.0
