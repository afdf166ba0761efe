"""What every receiver has in common: a TCP listener, modes of failing, and waiting.

A receiver accepts on 127.0.0.1 and serves each connection on a thread of its own. What has come in
is kept behind one condition, so a test waits for a fact (``wait_for``) and never sleeps. A receiver
stopped and started again listens on the same port.

The modes, settable while it runs:

============= ====================================================================================
``ok``        stores what comes in and answers
``blackhole`` accepts and never answers; once the mode changes, HTTP and gRPC drop what they held,
              Forward reads on and acks late; ``counts["held"]`` tells how much it swallowed
``slow``      waits ``delay_s``, then as ``ok``
``error``     answers ``error_status`` (HTTP, gRPC) or closes the connection (Forward)
``throttle``  answers 429 with ``Retry-After: retry_after_s`` (Forward: closes the connection)
``garbage``   answers with bytes that are not the protocol's
``half_ack``  Forward only: stores everything, leaves every second chunk without its ack
``wrong_ack`` Forward only: stores everything, acks another chunk
============= ====================================================================================
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from tests.support.ports import HOST, hold

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

__all__ = ["HOST", "MODES", "Mode", "Receiver"]

Mode = Literal["ok", "blackhole", "slow", "error", "throttle", "garbage", "half_ack", "wrong_ack"]
MODES: tuple[str, ...] = get_args(Mode)


class Receiver:
    """A server on one port that keeps what it is sent.

    Args:
        port: The port to listen on; 0 takes a free one, which is kept over restarts.
        mode: How to behave at first; see the module's table.
        delay_s: How long ``slow`` waits before it answers.
        retry_after_s: What ``throttle`` asks the client to wait.
        error_status: The HTTP status that ``error`` answers.
        count_only: Keep counts instead of contents; cheap enough for benchmarks.
        tls: A server-side context; ``None`` speaks plain TCP.
    """

    name = "receiver"

    def __init__(
        self,
        *,
        port: int = 0,
        mode: Mode = "ok",
        delay_s: float = 0.5,
        retry_after_s: int = 1,
        error_status: int = 500,
        count_only: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        #: Nobody else gets it while the receiver is stopped.
        self.port = hold(self, port)
        self.delay_s = delay_s
        self.retry_after_s = retry_after_s
        self.error_status = error_status
        self.count_only = count_only
        self.counts: Counter[str] = Counter()
        #: What could not be understood, one line each; the connection was closed then.
        self.problems: list[str] = []
        self._mode: Mode = mode
        self._tls = tls
        self._changed = threading.Condition()
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        #: Grows with each stop, so that a thread of an earlier run knows that it is over.
        self._run = 0

    # -- lifecycle

    def start(self) -> Self:
        """Listen. Starting a receiver that listens does nothing."""
        if self._listener is not None:
            return self
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self.port))
        listener.listen(128)
        self._listener = listener
        self._spawn(self._accept, listener)
        return self

    def stop(self) -> None:
        """Close the listener and every connection; idempotent. What was received is kept."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with self._changed:
            self._run += 1
            connections = list(self._connections)
            self._changed.notify_all()
        for each in (listener, *connections):
            _close(each)
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.join(timeout=5.0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # -- what tests use

    @property
    def endpoint(self) -> str:
        """Where to send, as a URL."""
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}"

    @property
    def mode(self) -> Mode:
        """How the receiver behaves now."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        if mode not in MODES:
            msg = f"no mode {mode!r}; there is {', '.join(MODES)}"
            raise ValueError(msg)
        with self._changed:
            self._mode = mode
            self._changed.notify_all()

    def wait_for(self, predicate: Callable[[Self], Any], *, timeout_s: float = 5.0) -> Any:
        """Wait until ``predicate(receiver)`` is true and return its value.

        Raises:
            TimeoutError: It was not true within ``timeout_s``; the message holds the counts.
        """
        with self._changed:
            value = self._changed.wait_for(lambda: predicate(self), timeout_s)
            if not value:
                msg = f"{self.name}: not so within {timeout_s} s; received {dict(self.counts)}"
                raise TimeoutError(msg)
            return value

    def clear(self) -> None:
        """Forget what was received."""
        with self._changed:
            self.counts.clear()
            self.problems.clear()
            self._forget()

    def describe(self) -> dict[str, Any]:
        """Where this receiver listens, for a caller in another process."""
        return {"endpoint": self.endpoint, "host": HOST, "port": self.port}

    # -- for subclasses

    def _serve(self, connection: socket.socket) -> None:
        """Serve one connection until it ends; runs on a thread of its own."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Drop stored contents; called with the condition held."""

    @contextlib.contextmanager
    def _storing(self) -> Any:
        """Hold the condition while storing, then wake whoever waits."""
        with self._changed:
            yield
            self._changed.notify_all()

    def _delay(self, *, resume: bool = False) -> Mode:
        """Sit out ``blackhole`` and ``slow``; return the mode to answer in.

        Args:
            resume: Go on after a black hole as if nothing had been; false drops what it held.

        Raises:
            ConnectionAbortedError: The receiver was stopped, or a black hole held this request.
        """
        run = self._run
        with self._changed:
            if self._mode == "slow":
                self._changed.wait_for(
                    lambda: self._run != run or self._mode != "slow", self.delay_s
                )
            held = self._mode == "blackhole"
            if held:
                self.counts["held"] += 1
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._run != run or self._mode != "blackhole")
            if self._run != run or (held and not resume):
                raise ConnectionAbortedError
            return self._mode

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=f"{self.name}-receiver")
        thread.daemon = True
        self._threads = [each for each in self._threads if each.is_alive()]
        self._threads.append(thread)
        thread.start()

    # -- internals

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # stopped
            self._spawn(self._connection, connection, self._run)

    def _connection(self, raw: socket.socket, run: int) -> None:
        connection = raw
        try:
            connection = self._secured(raw)
            with self._changed:
                if self._run != run:
                    return
                self._connections.add(connection)
                self.counts["connections"] += 1
                self._changed.notify_all()
            self._serve(connection)
        except (OSError, EOFError):
            pass  # the client went away, or stop() closed the connection
        except Exception as exc:  # what a client sent must not end the receiver
            with self._storing():
                self.problems.append(repr(exc))
                self.counts["problems"] += 1
        finally:
            with self._changed:
                self._connections.discard(connection)
            _close(connection)

    def _secured(self, raw: socket.socket) -> socket.socket:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return raw
        raw.settimeout(5.0)
        secured = self._tls.wrap_socket(raw, server_side=True)
        secured.settimeout(None)
        return secured


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()
