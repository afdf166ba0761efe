from __future__ import annotations

import contextlib
import gzip

import pytest
from sentry_sdk.envelope import Envelope

from fiveobs.exceptions import DeliveryError
from fiveobs.tracks._envelope import EnvelopeSender
from tests.support.sender_peers import (
    SOON_S,
    Peer,
    Timer,
    answers,
    black_hole,
    response,
    say,
    trickle,
)

OK = response("200 OK", b'{"id":"9ec79c33ec9942ab8353589fcb2e04dc"}')


def an_envelope():
    envelope = Envelope()
    envelope.add_event({"event_id": "9ec79c33ec9942ab8353589fcb2e04dc", "message": "boom"})
    return envelope.serialize()


@pytest.fixture
def start():
    """Start peers and make senders; end them all after the test."""
    with contextlib.ExitStack() as stack:

        def start_peer(play, **options):
            peer = Peer(play, **options)
            stack.callback(peer.close)
            return peer

        def start_sender(port, path=""):
            dsn = f"http://public@127.0.0.1:{port}{path}/42"
            return stack.enter_context(contextlib.closing(EnvelopeSender(dsn)))

        start_peer.sender = start_sender
        yield start_peer


def refused(sender, timeout_s=5.0):
    with pytest.raises(DeliveryError) as caught:
        sender.send(an_envelope(), timeout_s)
    return caught.value


@pytest.mark.parametrize("path", ["", "/sentry/behind"])
def test_an_envelope_arrives_where_the_dsn_says(start, path):
    """Address, key and content are those that Sentry's own SDK would send."""
    peer = start(answers(OK))
    sender = start.sender(peer.port, path)
    assert sender.send(an_envelope(), 5) == 0
    assert sender.send(an_envelope(), 5) == 0

    request = peer.seen[0]
    assert request.line == f"POST {path}/api/42/envelope/ HTTP/1.1"
    assert request.headers["content-type"] == "application/x-sentry-envelope"
    assert request.headers["content-encoding"] == "gzip"
    assert "sentry_key=public" in request.headers["x-sentry-auth"]
    assert "sentry_client=fiveobs/" in request.headers["x-sentry-auth"]
    assert gzip.decompress(request.body) == an_envelope()
    assert peer.connections == 1


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry_After": "7"}, 7),
        ({"X_Sentry_Rate_Limits": "30:error:organization", "Retry_After": "7"}, 30),
        ({"X_Sentry_Rate_Limits": "9:transaction:key, 4:default;error:key"}, 4),
        ({"X_Sentry_Rate_Limits": "9:transaction:key, 20::organization"}, 20),
        ({"X_Sentry_Rate_Limits": "9:transaction:key"}, 9),
        ({"X_Sentry_Rate_Limits": "nonsense"}, 60),
        ({"X_Sentry_Rate_Limits": "999999999:error:key"}, 3600),
        ({}, 60),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(start, headers, wait_s):
    """The limits that hold for the envelope's items count, else Retry-After, else a minute."""
    error = refused(start.sender(start(answers(response("429 Too Many", **headers))).port))
    assert error.retry_after_s == wait_s
    assert not error.permanent


@pytest.mark.parametrize("status", ["400 Bad Request", "413 Too Large"])
def test_a_refused_envelope_is_dropped_for_good(start, status):
    """An envelope that Sentry calls invalid or too large is not sent again."""
    error = refused(start.sender(start(answers(response(status, b'{"detail":"bad"}'))).port))
    assert error.permanent
    assert "bad" in str(error)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "502 X"])
def test_a_wrong_dsn_or_a_broken_server_keeps_the_envelope(start, status):
    """A wrong key, project or host loses nothing."""
    assert not refused(start.sender(start(answers(response(status))).port)).permanent


@pytest.mark.parametrize("play", [black_hole, trickle(b"HTTP/1.1 200 OK\r\nA: b")])
def test_a_slow_server_ends_at_the_deadline(start, play):
    """Silence and trickles end at one total deadline."""
    with Timer() as timer:
        refused(start.sender(start(play).port), 0.3)
    assert 0.25 < timer.elapsed_s < SOON_S


def test_garbage_is_not_taken_for_an_answer(start):
    """What is no HTTP is not believed and not permanent."""
    assert not refused(start.sender(start(say(b"\x00\x01garbage\n")).port)).permanent


@pytest.mark.parametrize("body", [b" <html>Log in</html>", b"\0\xff<garbage"])
def test_a_success_that_is_not_sentrys_is_not_believed(start, body):
    """A login page or garbage under 200 keeps the envelope and points at the DSN."""
    error = refused(start.sender(start(answers(response("200 OK", body))).port))
    assert "check the DSN" in str(error)
    assert not error.permanent


def test_a_restarted_server_is_found_again(start):
    """After an outage the next send reconnects to the same port by itself."""
    peer = start(answers(OK))
    sender = start.sender(peer.port)
    sender.send(an_envelope(), 5)
    peer.close()
    refused(sender)
    start(answers(OK), port=peer.port)
    assert sender.send(an_envelope(), 5) == 0
    sender.close()
    sender.close()


@pytest.mark.parametrize(
    "dsn", ["", "nonsense", "http://host/1", "https://hush@host/x", "http://:a"]
)
def test_a_dsn_that_is_none_is_refused_at_once(dsn):
    """What is no DSN is refused when the sender is made, without showing its key."""
    with pytest.raises(DeliveryError, match="DSN") as caught:
        EnvelopeSender(dsn)
    assert "hush" not in str(caught.value)
