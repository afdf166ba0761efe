from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import threading

import msgpack
import pytest

from fiveobs.exceptions import DeliveryError
from fiveobs.tracks._forward import ForwardSender
from tests.support.sender_peers import (
    SOON_S,
    Peer,
    Timer,
    black_hole,
    hang_up,
    make_certificate,
    say,
    trickle,
)

NOW_NS = 1_750_000_000_123_456_789
RECORDS = [(NOW_NS, {"id": "1", "message": "a"}), (NOW_NS + 1, {"id": "2", "message": "b"})]


def sha512(*parts):
    return hashlib.sha512(b"".join(parts)).hexdigest().encode()


def messages(conn):
    """Yield the msgpack values that come over a connection, with raw bytes for text."""
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
    while data := conn.recv(65536):
        unpacker.feed(data)
        yield from unpacker


def entries(message):
    """Return the (seconds, nanoseconds, record) triples of a PackedForward message."""
    found = msgpack.Unpacker(strict_map_key=False)
    found.feed(message[1])
    return [(*struct.unpack(">II", time.data), record) for time, record in found]


def ack(message):
    return msgpack.packb({"ack": message[2][b"chunk"].decode()})


def acknowledge(conn, peer):
    """Take every batch and acknowledge it."""
    for message in messages(conn):
        peer.seen.append(message)
        conn.sendall(ack(message))


def answer_with(make):
    """Answer every batch with ``make(message)``."""

    def play(conn, peer):
        for message in messages(conn):
            peer.seen.append(message)
            conn.sendall(make(message))

    return play


def secured(key=b"s3cret", users=None, *, keepalive=True, own_key=None, reason=b"wrong password"):
    """Ask for a shared key (and a user), then acknowledge batches."""

    def play(conn, peer):
        auth = b"salt-for-users" if users else b""
        options = {"nonce": b"\x00nonce\xff", "auth": auth, "keepalive": keepalive}
        conn.sendall(msgpack.packb(["HELO", options]))
        incoming = messages(conn)
        kind, host, salt, digest, user, password = next(incoming)
        peer.seen.append((kind, host, salt, user, password))
        if digest != sha512(salt, host, b"\x00nonce\xff", key):
            return
        known = not users or password == sha512(auth, user, users.get(user, b"?"))
        proof = sha512(salt, b"server", b"\x00nonce\xff", own_key or key)
        conn.sendall(msgpack.packb(["PONG", known, reason, "server", proof.decode()]))
        for message in incoming:
            peer.seen.append(message)
            conn.sendall(ack(message))

    return play


@pytest.fixture
def start():
    """Start peers and make senders; end them all after the test."""
    with contextlib.ExitStack() as stack:

        def start_peer(play, **options):
            peer = Peer(play, **options)
            stack.callback(peer.close)
            return peer

        def start_sender(port, host="127.0.0.1", **options):
            return stack.enter_context(
                contextlib.closing(ForwardSender(host, port, "app.jobs", **options))
            )

        start_peer.sender = start_sender
        yield start_peer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


def refused(sender, timeout_s=5.0):
    with pytest.raises(DeliveryError) as caught:
        sender.send(RECORDS, timeout_s)
    assert not caught.value.permanent
    assert sender.socket is None, "the connection was kept"
    return str(caught.value)


def test_a_batch_arrives_whole_and_is_acknowledged(start):
    """Tag, nanoseconds, records and size arrive, over one kept connection."""
    peer = start(acknowledge)
    sender = start.sender(peer.port)

    assert sender.send(RECORDS, 5) == 0
    assert sender.send(RECORDS[:1], 5) == 0

    first, second = peer.seen
    assert first[0] == b"app.jobs"
    assert entries(first) == [
        (1_750_000_000, 123_456_789, RECORDS[0][1]),
        (1_750_000_000, 123_456_790, RECORDS[1][1]),
    ]
    assert first[2][b"size"] == 2
    assert first[2][b"chunk"] != second[2][b"chunk"]
    assert peer.connections == 1


def test_an_empty_batch_makes_no_traffic(start):
    """Nothing to send opens no connection."""
    peer = start(acknowledge)
    assert start.sender(peer.port).send([], 5) == 0
    assert peer.connections == 0


def test_a_large_batch_arrives(start):
    """Megabytes in one message are written out and acknowledged."""
    peer = start(acknowledge)
    records = [(NOW_NS, {"n": n, "text": "x" * 1000}) for n in range(5000)]
    assert start.sender(peer.port).send(records, 20) == 0
    assert len(entries(peer.seen[0])) == 5000


def test_a_record_that_msgpack_cannot_hold_poisons_nothing(start):
    """Odd values go as text, a record without any form is counted, the rest arrives."""
    peer = start(acknowledge)
    endless: dict = {}
    for _ in range(5000):
        endless = {"deeper": endless}
    odd = {"big": 2**70, "deep": [{"small": -(2**64)}], "fine": 2**64 - 1}
    records = [(NOW_NS, odd), (NOW_NS, {"s": "\ud800", "o": {1, 2}}), (NOW_NS, endless)]
    records += [(-5, {"early": 1}), (2**70, {"late": 1})]
    rejected = start.sender(peer.port).send([*records, RECORDS[0]], 5)
    got = entries(peer.seen[0])
    assert len(got) + rejected == 6
    assert got[0][2] == {"big": str(2**70), "deep": [{"small": str(-(2**64))}], "fine": 2**64 - 1}
    assert got[1][2] == {"s": "\\ud800", "o": "{1, 2}"}
    assert [at for at in got if "early" in at[2]] == [(0, 0, {"early": 1})]
    assert got[-1][2] == RECORDS[0][1]


@pytest.mark.parametrize(
    "make",
    [
        lambda _: msgpack.packb({"ack": "another"}),
        lambda _: msgpack.packb({"nack": 1}),
        lambda _: msgpack.packb(None),
        lambda _: msgpack.packb([b"ack"]),
        lambda _: b"\xc1\xc1\xc1",
        lambda _: b"\xdf\xff\xff\xff\xff",
        lambda _: b"\xdb\xff\xff\xff\xff" + b"x" * 200_000,
        lambda message: ack(message) + b"\x01",
    ],
    ids=["wrong", "no-ack", "nil", "list", "never-used", "huge-map", "huge-text", "and-more"],
)
def test_what_is_not_exactly_the_acknowledgement_is_none(start, make):
    """A wrong, missing or garbled acknowledgement is not believed, and the connection goes."""
    assert refused(start.sender(start(answer_with(make)).port))


def test_half_an_acknowledgement_is_none(start):
    """An acknowledgement that breaks off, by a close or by silence, is not believed."""

    def cut(conn, peer):
        message = next(messages(conn))
        conn.sendall(ack(message)[:-3])

    def stall(conn, peer):
        cut(conn, peer)
        peer.stopped.wait(10)

    assert "closed" in refused(start.sender(start(cut).port))
    with Timer() as timer:
        refused(start.sender(start(stall).port), 0.3)
    assert timer.elapsed_s < SOON_S


@pytest.mark.parametrize(
    "play",
    [black_hole, trickle(b"\x81\xa3ack\xd9\xff")],
    ids=["silence", "trickle"],
)
def test_a_slow_peer_ends_at_the_deadline(start, play):
    """Silence and a byte at a time end at one total deadline."""
    sender = start.sender(start(play).port)
    with Timer() as timer:
        message = refused(sender, 0.3)
    assert 0.25 < timer.elapsed_s < SOON_S
    assert "within 0.3 s" in message


def test_a_peer_that_does_not_read_ends_at_the_deadline(start):
    """A batch that the peer never drains from its socket ends at the deadline, too."""
    sender = start.sender(start(black_hole).port)
    records = [(NOW_NS, {"x": "x" * 1_000_000})] * 20
    with Timer() as timer, pytest.raises(DeliveryError):
        sender.send(records, 0.5)
    assert timer.elapsed_s < SOON_S


def test_nobody_listening_is_said(start):
    """A refused connection keeps the batch and names host and port."""
    peer = start(black_hole)
    peer.close()
    assert f"127.0.0.1:{peer.port} could not be reached" in refused(start.sender(peer.port))


def test_an_http_port_is_recognised(start):
    """Speaking Forward to an HTTP input says so."""
    peer = start(say(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert "http input" in refused(start.sender(peer.port))


def test_a_stale_connection_is_replaced_within_the_send(start):
    """A kept connection that the receiver closed costs one retry, not a failed batch."""

    def once(conn, peer):
        message = next(messages(conn))
        peer.seen.append(message)
        conn.sendall(ack(message))

    peer = start(once)
    sender = start.sender(peer.port)
    for _ in range(3):
        assert sender.send(RECORDS, 5) == 0
    assert len(peer.seen) == 3


def test_a_restarted_receiver_is_found_again(start):
    """After an outage the next send reconnects to the same port by itself."""
    peer = start(acknowledge)
    sender = start.sender(peer.port)
    sender.send(RECORDS, 5)
    peer.close()
    refused(sender)
    again = start(acknowledge, port=peer.port)
    assert sender.send(RECORDS, 5) == 0
    assert len(again.seen) == 1


def test_close_is_idempotent_and_not_the_end(start):
    """Closing twice is harmless, and a later send opens a new connection."""
    sender = start.sender(start(acknowledge).port)
    sender.close()
    sender.send(RECORDS, 5)
    sender.close()
    sender.close()
    assert sender.send(RECORDS, 5) == 0


def test_the_shared_key_opens_the_connection_once(start):
    """Both sides prove the key; the salt is hexadecimal text; one handshake serves many batches."""
    peer = start(secured())
    sender = start.sender(peer.port, shared_key="s3cret", username="unasked", password="x")
    sender.send(RECORDS, 5)
    sender.send(RECORDS, 5)
    kind, host, salt, user, password = peer.seen[0]
    assert kind == b"PING"
    assert host == socket.gethostname().encode()
    assert bytes.fromhex(salt.decode())
    assert (user, password) == (b"", b"")
    assert len(peer.seen) == 3


def test_user_and_password_are_proved_where_asked_for(start):
    """A receiver with users gets the name and the salted digest of the password."""
    play = secured(users={b"ann": b"pw"})
    options = {"shared_key": "s3cret", "username": "ann"}
    assert start.sender(start(play).port, password="pw", **options).send(RECORDS, 5) == 0
    message = refused(start.sender(start(play).port, password="no", **options))
    assert "refused us: wrong password" in message


def test_a_wrong_shared_key_says_what_to_check(start):
    """A receiver that hangs up without a word leads to the shared key."""
    peer = start(secured())
    message = refused(start.sender(peer.port, shared_key="wrong"))
    assert "check shared key" in message
    assert "wrong" not in message


def test_a_receiver_without_the_key_gets_no_records(start):
    """A receiver that cannot prove the key itself is refused by us."""
    peer = start(secured(own_key=b"other"))
    assert "does not know the shared key" in refused(start.sender(peer.port, shared_key="s3cret"))
    assert len(peer.seen) == 1


def test_a_key_on_one_side_only_is_told_apart(start):
    """A key that only one side has is named, whichever side that is."""
    ours = start.sender(start(black_hole).port, shared_key="s3cret")
    assert "does it have a shared key?" in refused(ours, 0.3)
    assert "asks for a shared key" in refused(start.sender(start(secured()).port))


@pytest.mark.parametrize("said", [["HELO"], ["HELO", 1], ["PONG", True], 7, {"a": 1}, ["HELO", {}]])
def test_a_garbled_handshake_is_refused(start, said):
    """Whatever comes instead of HELO and PONG ends the attempt, not the sender."""

    def play(conn, peer):
        conn.sendall(msgpack.packb(said) * 2)
        peer.stopped.wait(10)

    assert refused(start.sender(start(play).port, shared_key="s3cret"), 2)


def test_a_receiver_without_keepalive_gets_a_connection_per_batch(start):
    """Where HELO says keepalive is off, each batch has its own connection."""
    peer = start(secured(keepalive=False))
    sender = start.sender(peer.port, shared_key="s3cret")
    sender.send(RECORDS, 5)
    assert sender.socket is None
    sender.send(RECORDS, 5)
    assert peer.connections == 2


def test_tls_with_its_authority_works(start, certificate):
    """TLS, alone and with a shared key, delivers; verification may be switched off."""
    context = certificate.server_context()
    plain = start(acknowledge, tls=context)
    keyed = start(secured(), tls=context)
    trusted = {"tls": True, "tls_ca": certificate.cert}
    assert start.sender(plain.port, **trusted).send(RECORDS, 5) == 0
    assert start.sender(plain.port, host="localhost", **trusted).send(RECORDS, 5) == 0
    assert start.sender(keyed.port, shared_key="s3cret", **trusted).send(RECORDS, 5) == 0
    assert start.sender(plain.port, tls=True, tls_verify=False).send(RECORDS, 5) == 0


def test_a_large_batch_over_tls_arrives_and_a_trickle_ends(start, certificate):
    """TLS keeps the total deadline and carries megabytes."""
    context = certificate.server_context()
    trusted = {"tls": True, "tls_ca": certificate.cert}
    records = [(NOW_NS, {"text": "x" * 1000})] * 5000
    assert start.sender(start(acknowledge, tls=context).port, **trusted).send(records, 20) == 0
    slow = start(trickle(b"\x81\xa3ack\xd9\xff"), tls=context)
    with Timer() as timer:
        refused(start.sender(slow.port, **trusted), 0.4)
    assert timer.elapsed_s < SOON_S


def test_tls_troubles_say_what_to_check(start, certificate):
    """An untrusted certificate, silence and a port without TLS are told apart."""
    peer = start(acknowledge, tls=certificate.server_context())
    assert "check the CA file" in refused(start.sender(peer.port, tls=True))
    plain = start(say(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert "without TLS" in refused(start.sender(plain.port, tls=True))
    with Timer() as timer:
        refused(start.sender(start(black_hole).port, tls=True), 0.3)
    assert timer.elapsed_s < SOON_S
    alert = start(say(b"\x15\x03\x01\x00\x02\x02\x46"))
    assert "wants TLS" in refused(start.sender(alert.port))


def test_a_local_socket_works(tmp_path):
    """A host of unix:///path is a local socket, as in fluent-logger."""
    path = tmp_path / "forward.sock"
    seen = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            conn, _ = listener.accept()
            for message in messages(conn):
                seen.append(message)
                conn.sendall(ack(message))
            hang_up(conn)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with contextlib.closing(ForwardSender(f"unix://{path}", 0, "app.jobs")) as sender:
            assert sender.send(RECORDS, 5) == 0
        thread.join(5)
    assert len(entries(seen[0])) == 2


def test_ipv6_addresses_work():
    """An IPv6 address, bracketed or not, is connected to."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        listener.settimeout(5)
        port = listener.getsockname()[1]
        for host in ("::1", "[::1]"):
            with contextlib.closing(ForwardSender(host, port, "app.jobs")) as sender:
                with pytest.raises(DeliveryError):
                    sender.send(RECORDS, 0.2)
                conn, _ = listener.accept()
                with conn:
                    assert next(messages(conn))[0] == b"app.jobs"
