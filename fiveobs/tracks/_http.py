"""Posts one body over HTTP/1.1 and says plainly whether it was taken.

Reads ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``; writes to the network only.
It stands on ``http.client`` rather than on requests, because requests offers a timeout per socket
operation only: connect attempts, the proxy's answer and each header line may each take the whole of
it, and a peer that trickles holds the shipper for hours. Here the socket itself keeps the deadline.
Netrc files are not read, since they would replace the authorization that was configured; redirects
are not followed, since they would carry credentials to another host.

One thread uses a poster; it must not cross a fork.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import math
import socket
import ssl
import urllib.request
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from fiveobs._version import __version__
from fiveobs.exceptions import DeliveryError
from fiveobs.tracks._deadline import Deadline, Resolver, connect, start_tls, tls_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fiveobs.tracks._deadline import DeadlineSocket

__all__ = ["USER_AGENT", "HttpAnswer", "HttpPoster", "excerpt", "retry_after_s", "tls_reason"]

#: How much of an answer is read; what is longer is cut, and the connection dropped.
MAX_ANSWER_BYTES: Final = 64 * 1024
#: The longest wait that a destination may ask for; one attempt an hour burdens nobody, while a
#: wait without bound would let one mistaken answer silence a track.
MAX_RETRY_AFTER_S: Final = 3600.0
#: Statuses that a wrong setting, a missing right or a used-up quota causes: the data is kept.
SETTING_STATUSES: Final = frozenset({401, 402, 403, 404, 405, 407, 415, 421, 426})
#: Statuses of the 4xx class that ask for the same request again.
RETRY_STATUSES: Final = frozenset({408, 425, 429})
#: What to look at, by status.
HINTS: Final = {
    401: "check the credentials",
    403: "check the credentials and what they permit",
    404: "check the path of the address",
    405: "check the path of the address",
    407: "check the proxy's credentials",
    413: "the batch is too large for it",
    415: "check that the address is one that takes this kind of data",
}
#: How servers of TLS ports answer a request in plain text, in lower case.
TLS_EXPECTED: Final = ("http request to an https server", "plain http request was sent to https")


#: How every sender introduces itself.
USER_AGENT: Final = f"fiveobs/{__version__}"


class HttpAnswer(NamedTuple):
    """What the destination answered, whether it took the body or not."""

    #: The status code.
    status: int
    #: The header fields, found by name in any case.
    headers: http.client.HTTPMessage
    #: The body, at most 64 KiB of it.
    body: bytes


class HttpPoster:
    """Posts bodies to one address over a connection that is kept open between posts.

    Args:
        url: Where to post, ``http`` or ``https``. A user and password in it become basic
            authorization; they never appear in a message.
        headers: Fields to send with each post.
        tls_verify: Whether an ``https`` server must prove who it is.
        certificate: File or folder of the CA certificates to trust; ``None`` for the usual ones.
        client_certificate: A certificate to show to the server, in PEM.
        client_key: Its key, if it is in a file of its own.

    Raises:
        DeliveryError: ``url`` is no HTTP address.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        tls_verify: bool = True,
        certificate: str | None = None,
        client_certificate: str | None = None,
        client_key: str | None = None,
    ) -> None:
        self._url, self._port = _split(url)
        self._host = self._url.hostname or ""
        self._path = self._url.path or "/"
        #: The address as messages show it: no credentials, no query.
        self.where = f"{self._url.scheme}://{_netloc(self._url)}{self._path}"
        self._headers = _default_headers(self._url) | dict(headers or {})
        self._tls = {
            "ca": certificate,
            "client_certificate": client_certificate,
            "client_key": client_key,
        }
        self._tls_verify = tls_verify
        self._context: ssl.SSLContext | None = None
        self._proxy = _proxy_for(self._url.scheme, self._host, self._port)
        if self._proxy and self._url.scheme == "http":
            self._headers |= _proxy_headers(self._proxy)
        first_hop = _proxy_address(self._proxy) if self._proxy else (self._host, self._port)
        self._resolver = Resolver(*first_hop)
        self._connection: http.client.HTTPConnection | None = None
        self._socket: DeadlineSocket | None = None

    def post(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> HttpAnswer:
        """Post ``body`` and return the answer, of any status. Blocks for at most ``timeout_s``.

        Args:
            body: The request's body.
            headers: Fields of this post alone.
            timeout_s: Seconds for connecting, writing and the whole answer together.

        Raises:
            DeliveryError: There was no answer, or not an HTTP one.
        """
        deadline = Deadline(timeout_s)
        try:
            return self._exchange(body, headers, deadline)
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise DeliveryError(self._explain(exc, timeout_s)) from exc
        except ValueError:
            self.close()
            message = f"{self.where}: the address or a header holds a character that is not allowed"
            raise DeliveryError(message) from None  # the cause would show the header, a secret

    def check(self, answer: HttpAnswer) -> None:
        """Raise unless the answer says that the body was taken.

        Raises:
            DeliveryError: It was not: for good where the body is at fault (the 4xx that no setting
                explains), for now where a setting, the load or the destination is.
        """
        if not 200 <= answer.status <= 299:
            raise _refusal(self.where, answer)

    def close(self) -> None:
        """Drop the connection, if there is one; the next post opens another. Does not block."""
        connection, self._connection, self._socket = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def _exchange(self, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> HttpAnswer:
        reused = self._connection is not None
        try:
            return self._attempt(body, headers, deadline)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # A server closes a connection that idled too long just as we write to it.
            self.close()
            if not reused:
                raise
        return self._attempt(body, headers, deadline)

    def _attempt(self, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> HttpAnswer:
        connection = self._connected(deadline)
        with contextlib.suppress(ConnectionError):
            # A server that refuses a large body answers and closes while we still write: its
            # answer is worth more than the broken pipe. If there is none, reading it says so.
            connection.request("POST", self._target(), body, self._headers | dict(headers))
        response = connection.getresponse()
        answer = self._read(response)
        if not response.isclosed() or response.will_close:
            self.close()
        return HttpAnswer(response.status, response.headers, answer)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """Read the answer's body; a broken one matters only where success hangs on it."""
        try:
            body = response.read(MAX_ANSWER_BYTES)
            if response.length and len(body) < MAX_ANSWER_BYTES:
                raise http.client.IncompleteRead(body, response.length)
        except (OSError, http.client.HTTPException):
            if response.status < 300:
                raise
            self.close()
            return b""
        return body

    def _connected(self, deadline: Deadline) -> http.client.HTTPConnection:
        if self._connection is None or self._socket is None:
            self._socket = self._open(deadline)
            self._connection = http.client.HTTPConnection(self._host, self._port)
            self._connection.auto_open = 0  # it must never connect by itself, without a deadline
            self._connection.sock = self._socket
        self._socket.deadline = deadline
        return self._connection

    def _open(self, deadline: Deadline) -> DeadlineSocket:
        sock = connect(self._resolver.addresses(deadline), deadline)
        if self._url.scheme != "https":
            return sock
        try:
            if self._proxy:
                self._tunnel(sock, self._proxy)
            return start_tls(sock, self._tls_context(), self._host, deadline)
        except Exception:
            sock.close()
            raise

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = tls_context(verify=self._tls_verify, **self._tls)
        return self._context

    def _tunnel(self, sock: DeadlineSocket, proxy: SplitResult) -> None:
        """Ask the proxy for a connection to the host itself."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        lines = [f"CONNECT {host}:{self._port} HTTP/1.1", f"Host: {host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in _proxy_headers(proxy).items()]
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        response = http.client.HTTPResponse(sock, method="CONNECT")
        try:
            response.begin()
        finally:
            response.close()
        if response.status != http.HTTPStatus.OK:
            message = f"the proxy {_netloc(proxy)} answered {response.status} {response.reason}"
            raise OSError(message)

    def _target(self) -> str:
        path = self._path + (f"?{self._url.query}" if self._url.query else "")
        if self._proxy and self._url.scheme == "http":
            return f"http://{_netloc(self._url)}{path}"
        return path

    def _explain(self, exc: Exception, timeout_s: float) -> str:
        via = f" (through the proxy {_netloc(self._proxy)})" if self._proxy else ""
        return f"{self.where}{via} {_reason(exc, timeout_s)}"


def excerpt(body: bytes, limit: int = 200) -> str:
    """Return the readable part of an answer's start, on one line, for a message."""
    text = body[: 4 * limit].decode("utf-8", "replace")
    readable = "".join(char if char.isprintable() and char != "\ufffd" else " " for char in text)
    return " ".join(readable.split())[:limit]


def retry_after_s(value: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` field asks for, at most an hour.

    Args:
        value: The field, seconds or a date (RFC 9110, section 10.2.3); ``None`` if there is none.

    Returns:
        ``None`` if it says nothing that can be understood.
    """
    if value is None:
        return None
    try:
        wait_s = float(value)
    except ValueError:
        wait_s = _seconds_until(value)
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S) if math.isfinite(wait_s) else None


def _seconds_until(date: str) -> float:
    try:
        at = parsedate_to_datetime(date)
        return (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return math.nan


def _refusal(where: str, answer: HttpAnswer) -> DeliveryError:
    """Return the error for an answer that is not a success."""
    status, said = answer.status, excerpt(answer.body)
    wants_tls = any(text in said.lower() for text in TLS_EXPECTED)
    parts = [f"{where} answered {status} {http.client.responses.get(status, '')}".rstrip()]
    if wants_tls:
        parts.append("this looks like a port that wants TLS, so the address begins with https://")
    elif 300 <= status <= 399:
        target = excerpt(answer.headers.get("Location", "").encode()).partition("?")[0]
        parts.append(f"redirects are not followed; use the address it names, {target}")
    elif status in HINTS:
        parts.append(HINTS[status])
    if said:
        parts.append(f"it said: {said}")
    retryable = wants_tls or status in SETTING_STATUSES or status in RETRY_STATUSES
    return DeliveryError(
        "; ".join(parts),
        retry_after_s=retry_after_s(answer.headers.get("Retry-After")),
        permanent=400 <= status <= 499 and not retryable,
    )


def _reason(exc: Exception, timeout_s: float) -> str:
    """Say what kept an exchange from ending, and what to look at where that is known."""
    if isinstance(exc, TimeoutError):
        return f"did not take the batch within {timeout_s:g} s: {exc}"
    if isinstance(exc, ssl.SSLError):
        return tls_reason(exc)
    if isinstance(exc, socket.gaierror):
        return f"could not be resolved; check the host's name: {exc}"
    if isinstance(exc, http.client.BadStatusLine) and not isinstance(exc, ConnectionError):
        return _not_http(str(exc))
    if isinstance(exc, ConnectionError):
        return f"could not be reached or closed the connection: {exc}"
    return f"could not be spoken to: {type(exc).__name__}: {exc}"


def tls_reason(exc: ssl.SSLError) -> str:
    """Say what made TLS fail, and what to look at where that is known."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"showed a certificate that is not trusted ({exc.verify_message}); check the CA file"
    if exc.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}:
        return "failed the TLS handshake; this looks like a port without TLS"
    return f"failed in TLS: {exc.reason or exc}"


def _not_http(line: str) -> str:
    if line.startswith("\x00\x00"):  # the head of an HTTP/2 frame
        return "did not answer in HTTP/1.1; this looks like a gRPC port: use its HTTP port (4318)"
    if line.startswith("\x15\x03"):  # a TLS alert
        return "answered in TLS; this looks like a port that wants https://"
    return f"did not answer in HTTP: {excerpt(line.encode(), 60)!r}; check the port"


def _split(url: str) -> tuple[SplitResult, int]:
    """Split an address and find its port; raise where it is none that can be posted to."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (KeyError, ValueError):
        parts, port = SplitResult("", "", "", "", ""), 0
    if not parts.hostname:
        shown = url.rpartition("@")[2]
        message = f"{shown!r} is no HTTP address; write http://host:port/path or https://…"
        raise DeliveryError(message)
    return parts, port


def _netloc(url: SplitResult) -> str:
    return url.netloc.rpartition("@")[2]


def _default_headers(url: SplitResult) -> dict[str, str]:
    headers = {"User-Agent": USER_AGENT, "Host": _netloc(url)}
    if url.username is not None:
        headers["Authorization"] = _basic(url)
    return headers


def _basic(url: SplitResult) -> str:
    pair = f"{unquote(url.username or '')}:{unquote(url.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _proxy_for(scheme: str, host: str, port: int) -> SplitResult | None:
    """Return the proxy that the environment (or the system) names for a host, if any."""
    proxies = urllib.request.getproxies()
    chosen = proxies.get(scheme) or proxies.get("all")
    if not chosen or _bypassed(host, port, proxies.get("no", "")):
        return None
    return urlsplit(chosen if "://" in chosen else f"http://{chosen}")


def _bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Tell whether a host is reached directly; ``NO_PROXY`` may hold networks, too (10.0.0.0/8)."""
    if urllib.request.proxy_bypass(f"{host}:{port}" if ":" not in host else host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in no_proxy.split(","):
        with contextlib.suppress(ValueError):
            if address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
    return False


def _proxy_address(proxy: SplitResult) -> tuple[str, int]:
    if proxy.scheme != "http" or not proxy.hostname:
        message = f"the proxy {_netloc(proxy)} is not an http:// one; only those are supported"
        raise DeliveryError(message)
    return proxy.hostname, proxy.port or 80


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    return {"Proxy-Authorization": _basic(proxy)} if proxy.username is not None else {}
