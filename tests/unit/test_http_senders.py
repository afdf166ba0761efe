from __future__ import annotations

import contextlib
import socket
import struct
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest

from fiveobs.exceptions import DeliveryError
from fiveobs.tracks._deadline import Deadline, Resolver
from fiveobs.tracks._fluent_http import FluentHttpSender
from fiveobs.tracks._http import MAX_ANSWER_BYTES, HttpPoster, retry_after_s
from tests.support.sender_peers import (
    SOON_S,
    Peer,
    Timer,
    answers,
    black_hole,
    hang_up,
    make_certificate,
    requests_on,
    response,
    say,
    trickle,
)

LINES = [b'{"id":"1","message":"a"}', b'{"id":"2","message":"b"}']
CREATED = response("201 Created")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def start():
    """Start peers and make senders; end them all after the test."""
    with contextlib.ExitStack() as stack:

        def start_peer(play, **options):
            peer = Peer(play, **options)
            stack.callback(peer.close)
            return peer

        def start_sender(port, tag="app.jobs", host="127.0.0.1", **options):
            return stack.enter_context(
                contextlib.closing(FluentHttpSender(host, port, tag, **options))
            )

        start_peer.sender = start_sender
        yield start_peer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


def refused(sender, timeout_s=5.0):
    with pytest.raises(DeliveryError) as caught:
        sender.send(LINES, timeout_s)
    return caught.value


def test_a_batch_is_one_json_array_posted_to_the_tag(start):
    """Lines arrive as one JSON array under the tag's path, over one kept connection."""
    peer = start(answers(CREATED))
    sender = start.sender(peer.port)

    assert sender.send(LINES, 5) == 0
    assert sender.send(LINES[:1], 5) == 0

    first, second = peer.seen
    assert first.line == "POST /app.jobs HTTP/1.1"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["user-agent"].startswith("fiveobs/")
    assert orjson.loads(first.body) == [orjson.loads(line) for line in LINES]
    assert orjson.loads(second.body) == [orjson.loads(LINES[0])]
    assert peer.connections == 1


def test_an_empty_batch_makes_no_traffic(start):
    """Nothing to send opens no connection."""
    peer = start(answers(CREATED))
    assert start.sender(peer.port).send([], 5) == 0
    assert peer.connections == 0


def test_a_tag_with_odd_characters_stays_one_path_segment(start):
    """A slash or a space in a tag is escaped instead of changing the request."""
    peer = start(answers(CREATED))
    start.sender(peer.port, tag="a/b c?d").send(LINES, 5)
    assert peer.seen[0].line == "POST /a%2Fb%20c%3Fd HTTP/1.1"


@pytest.mark.parametrize("status", ["400 Bad Request", "413 Too Large", "422 Unprocessable"])
def test_a_refusal_of_the_body_is_permanent(start, status):
    """A 4xx that only the batch explains says that sending it again cannot help."""
    peer = start(answers(response(status, b"no such field")))
    error = refused(start.sender(peer.port))
    assert error.permanent
    assert status[:3] in str(error)
    assert "no such field" in str(error)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 407, 408, 415, 425, 429, 500, 503])
def test_a_refusal_that_a_setting_or_load_explains_keeps_the_batch(start, status):
    """Wrong settings, limits and broken servers never make the batch lost."""
    peer = start(answers(response(f"{status} X")))
    error = refused(start.sender(peer.port))
    assert not error.permanent
    assert error.retry_after_s is None


def test_a_wrong_path_says_what_to_check(start):
    """A 404 points at the path of the address."""
    peer = start(answers(response("404 Not Found")))
    assert "check the path" in str(refused(start.sender(peer.port)))


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_retry_after_in_seconds_is_passed_on(start, status):
    """The destination's wish for patience reaches the shipper."""
    peer = start(answers(response(status, Retry_After="7")))
    error = refused(start.sender(peer.port))
    assert error.retry_after_s == 7
    assert not error.permanent


def test_retry_after_understands_dates_and_survives_nonsense():
    """A date counts from now; the past is zero; nonsense is nothing; the far future is an hour."""
    at = datetime.now(UTC) + timedelta(seconds=90)
    assert retry_after_s(format_datetime(at, usegmt=True)) == pytest.approx(90, abs=3)
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_s("-5") == 0
    assert retry_after_s("9" * 400) is None
    assert retry_after_s("1e9") == 3600
    assert [retry_after_s(value) for value in ("soon", "nan", "inf", "", None)] == [None] * 5


def test_redirects_are_not_followed(start):
    """A redirect is reported with its target, and nothing is sent there."""
    other = start(answers(CREATED))
    target = f"http://127.0.0.1:{other.port}/x?secret=1"
    peer = start(answers(response("302 Found", Location=target)))
    error = refused(start.sender(peer.port))
    assert "redirects are not followed" in str(error)
    assert "secret" not in str(error)
    assert not error.permanent
    assert other.connections == 0


def test_nobody_listening_is_not_permanent(start):
    """A refused connection keeps the batch."""
    peer = start(black_hole)
    peer.close()
    assert not refused(start.sender(peer.port)).permanent


@pytest.mark.parametrize(
    "play",
    [
        black_hole,
        trickle(b"HTTP/1.1 200 OK\r\nX-A: b"),
        trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nx"),
        trickle(b"HTTP/1.1 100 Continue\r\n\r\n" * 9999),
    ],
    ids=["silence", "headers", "body", "continue"],
)
def test_a_slow_peer_ends_at_the_deadline(start, play):
    """Silence and trickles of every kind end at one total deadline."""
    sender = start.sender(start(play).port)
    with Timer() as timer:
        error = refused(sender, 0.3)
    assert 0.25 < timer.elapsed_s < SOON_S
    assert not error.permanent
    assert "within 0.3 s" in str(error)


def test_a_peer_that_does_not_read_ends_at_the_deadline(start):
    """A batch that the peer never drains from its socket ends at the deadline, too."""
    sender = start.sender(start(black_hole).port)
    lines = [b'{"x":"' + b"x" * 1_000_000 + b'"}'] * 20
    with Timer() as timer, pytest.raises(DeliveryError):
        sender.send(lines, 0.3)
    assert timer.elapsed_s < SOON_S


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00", "gRPC"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "https://"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0"),
        (response("400 Bad Request", b"Client sent an HTTP request to an HTTPS server."), "https"),
    ],
)
def test_a_peer_that_speaks_something_else_is_named_and_costs_nothing(start, said, hint):
    """Garbage is not permanent, and the message says what it looks like."""
    error = refused(start.sender(start(say(said)).port))
    assert hint in str(error)
    assert not error.permanent


def test_a_truncated_success_is_not_believed(start):
    """A 200 whose body breaks off counts as not taken."""
    peer = start(say(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"))
    assert not refused(start.sender(peer.port)).permanent


def test_a_web_page_is_no_success(start):
    """A login form that answers 200 has taken nothing; the batch is kept."""
    page = response("200 OK", b"\r\n<!DOCTYPE html><title>Log in</title>", Content_Type="text/html")
    error = refused(start.sender(start(answers(page)).port))
    assert not error.permanent
    assert "with a web page" in str(error)


def test_an_endless_answer_is_read_up_to_a_bound(start):
    """A success with a body of gigabytes costs 64 KiB and a new connection."""

    def play(conn, peer):
        for _ in requests_on(conn):
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
            while not peer.stopped.is_set():
                conn.sendall(b"x" * 65536)

    peer = start(play)
    with contextlib.closing(HttpPoster(f"http://127.0.0.1:{peer.port}/")) as poster:
        for _ in range(2):
            assert len(poster.post(b"{}", {}, 5).body) == MAX_ANSWER_BYTES
    assert peer.connections == 2


def test_an_early_refusal_of_a_large_batch_is_heard(start):
    """A server that answers 413 and stops reading still makes the batch permanent."""

    def play(conn, _):
        conn.recv(1024)
        conn.sendall(response("413 Too Large", Connection="close"))
        conn.shutdown(socket.SHUT_WR)
        while conn.recv(65536):
            pass

    sender = start.sender(start(play).port)
    lines = [b'{"x":"' + b"x" * 1_000_000 + b'"}'] * 5
    with pytest.raises(DeliveryError) as caught:
        sender.send(lines, 5)
    assert caught.value.permanent


@pytest.mark.parametrize("reset", [False, True])
def test_a_stale_connection_is_replaced_within_the_send(start, reset):
    """A kept connection that the server closed costs one retry, not a failed batch."""

    def play(conn, peer):
        request = next(requests_on(conn))
        peer.seen.append(request)
        conn.sendall(CREATED)
        if reset:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            conn.close()

    peer = start(play)
    sender = start.sender(peer.port)
    for _ in range(3):
        sender.send(LINES, 5)
    assert len(peer.seen) == 3
    assert peer.connections == 3


def test_a_restarted_server_is_found_again(start):
    """After an outage the next send reconnects to the same port by itself."""
    peer = start(answers(CREATED))
    sender = start.sender(peer.port)
    sender.send(LINES, 5)
    peer.close()
    refused(sender)
    again = start(answers(CREATED), port=peer.port)
    assert sender.send(LINES, 5) == 0
    assert len(again.seen) == 1


def test_close_is_idempotent_and_not_the_end(start):
    """Closing twice is harmless, and a later send opens a new connection."""
    peer = start(answers(CREATED))
    sender = start.sender(peer.port)
    sender.close()
    sender.send(LINES, 5)
    sender.close()
    sender.close()
    assert sender.send(LINES, 5) == 0


def test_tls_with_its_authority_works(start, certificate):
    """HTTPS with the right CA file delivers, and keeps the deadline on a trickle."""
    peer = start(answers(CREATED), tls=certificate.server_context())
    sender = start.sender(peer.port, tls=True, tls_ca=certificate.cert)
    assert sender.send(LINES, 5) == 0
    slow = start(trickle(b"HTTP/1.1 200 OK\r\nX: y"), tls=certificate.server_context())
    with Timer() as timer:
        refused(start.sender(slow.port, tls=True, tls_verify=False), 0.4)
    assert timer.elapsed_s < SOON_S


def test_tls_troubles_say_what_to_check(start, certificate):
    """An untrusted certificate, a port without TLS and a missing CA file are told apart."""
    peer = start(answers(CREATED), tls=certificate.server_context())
    assert "check the CA file" in str(refused(start.sender(peer.port, tls=True)))
    plain = start(say(response("400 Bad Request")))
    assert "without TLS" in str(refused(start.sender(plain.port, tls=True)))
    missing = refused(start.sender(peer.port, tls=True, tls_ca="/nowhere/ca.pem"))
    assert "/nowhere/ca.pem" in str(missing)
    assert not missing.permanent


def test_a_tls_handshake_that_never_comes_ends_at_the_deadline(start):
    """A peer that accepts and says nothing cannot hold the handshake."""
    sender = start.sender(start(black_hole).port, tls=True)
    with Timer() as timer:
        refused(sender, 0.3)
    assert timer.elapsed_s < SOON_S


def test_the_environments_proxy_is_used(start, monkeypatch):
    """HTTP_PROXY gets the whole address and the proxy's credentials."""
    proxy = start(answers(CREATED))
    monkeypatch.setenv("HTTP_PROXY".lower(), f"http://user:p%40ss@127.0.0.1:{proxy.port}")
    sender = start.sender(1234, host="logs.example")
    assert sender.send(LINES, 5) == 0
    request = proxy.seen[0]
    assert request.line == "POST http://logs.example:1234/app.jobs HTTP/1.1"
    assert request.headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"
    assert request.headers["host"] == "logs.example:1234"


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "10.0.0.0/8,127.0.0.0/8", "*"])
def test_no_proxy_is_honoured(start, monkeypatch, no_proxy):
    """Hosts and networks in NO_PROXY are reached directly."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    peer = start(answers(CREATED))
    assert start.sender(peer.port).send(LINES, 5) == 0


def test_https_goes_through_a_proxys_tunnel(start, certificate, monkeypatch):
    """HTTPS asks the proxy for a tunnel and shakes hands with the server itself."""

    def play(conn, peer):
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += conn.recv(1)
        peer.seen.append(request)
        conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with certificate.server_context().wrap_socket(conn, server_side=True) as tls:
            next(requests_on(tls))
            tls.sendall(CREATED)

    proxy = start(play)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    sender = start.sender(8443, host="localhost", tls=True, tls_ca=certificate.cert)
    assert sender.send(LINES, 5) == 0
    assert proxy.seen[0].startswith(b"CONNECT localhost:8443 HTTP/1.1\r\n")


def test_a_proxy_that_refuses_is_named(start, monkeypatch):
    """A refused tunnel is a matter of settings, and says whose refusal it is."""
    proxy = start(answers(response("403 Forbidden")))
    monkeypatch.setenv("https_proxy", f"http://u:secret@127.0.0.1:{proxy.port}")
    error = refused(start.sender(8443, host="localhost", tls=True))
    assert f"the proxy 127.0.0.1:{proxy.port} answered 403" in str(error)
    assert "secret" not in str(error)
    assert not error.permanent


def test_credentials_in_the_address_are_sent_and_never_shown(start):
    """User and password become basic authorization and stay out of messages."""
    peer = start(answers(response("401 Unauthorized")))
    with contextlib.closing(HttpPoster(f"http://me:hush@127.0.0.1:{peer.port}/p?k=v")) as poster:
        answer = poster.post(b"{}", {}, 5)
        with pytest.raises(DeliveryError) as caught:
            poster.check(answer)
    assert peer.seen[0].headers["authorization"] == "Basic bWU6aHVzaA=="
    assert peer.seen[0].line == "POST /p?k=v HTTP/1.1"
    assert "hush" not in str(caught.value)
    assert "k=v" not in str(caught.value)


def test_a_header_that_http_cannot_carry_is_not_shown(start):
    """A line break in a configured secret fails without showing the secret."""
    peer = start(answers(CREATED))
    sender = start.sender(peer.port, headers={"Authorization": "Bearer hush\r\nX: y"})
    error = refused(sender)
    assert "hush" not in str(error)
    assert error.__suppress_context__
    assert not error.permanent


@pytest.mark.parametrize("url", ["", "ftp://x/", "http://", "http://x:99999/", "http://a:b@:1/"])
def test_an_address_that_is_none_is_refused_at_once(url):
    """What cannot be posted to is refused when the poster is made, without its credentials."""
    with pytest.raises(DeliveryError, match="no HTTP address") as caught:
        HttpPoster(url)
    assert "a:b" not in str(caught.value)


def test_ipv6_addresses_work(start):
    """An IPv6 address is bracketed where HTTP wants it."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        listener.settimeout(5)
        sender = start.sender(listener.getsockname()[1], host="::1")
        with pytest.raises(DeliveryError):
            sender.send(LINES, 0.3)
        conn, _ = listener.accept()
        with conn:
            request = next(requests_on(conn))
        hang_up(conn)
    assert request.headers["host"].startswith("[::1]:")


def test_a_name_service_that_hangs_ends_at_the_deadline(monkeypatch):
    """A hanging lookup ends at the deadline, and a second try waits for the same one."""
    import threading

    release = threading.Event()
    calls = []
    real = socket.getaddrinfo

    def hanging(host, port, *args, **options):
        if options.get("flags"):
            return real(host, port, *args, **options)
        calls.append(host)
        release.wait(10)
        return real("127.0.0.1", port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    resolver = Resolver("slow.example", 80)
    for _ in range(2):
        with Timer() as timer, pytest.raises(TimeoutError):
            resolver.addresses(Deadline(0.1))
        assert timer.elapsed_s < SOON_S
    assert calls == ["slow.example"]
    release.set()
    assert resolver.addresses(Deadline(5))[0][4] == ("127.0.0.1", 80)
