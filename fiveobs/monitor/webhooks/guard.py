"""Where webhooks may go: checks addresses before anything is connected to.

Whoever may subscribe names a URL, and the monitor calls it from inside somebody's network. Without
this it would be a way to reach what only that network can reach. A name is resolved once, every
address that it has is checked, and what is connected to is a checked address and not the name: a
name that is resolved anew could point elsewhere by then.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import SplitResult, urlsplit

from fiveobs.exceptions import BadInputError

__all__ = [
    "ForbiddenAddressError",
    "Guard",
    "Resolver",
    "Target",
    "resolve",
    "to_target",
]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
#: Gives the addresses of a host name and port, as text.
Resolver: TypeAlias = Callable[[str, int], Sequence[str]]

_MOST_URL_CHARS = 2_048
_DEFAULT_PORTS = {"http": 80, "https": 443}
#: Above the system's own ports, those that something else than HTTP listens on and that might take
#: a request for its own. Source: https://fetch.spec.whatwg.org/#port-blocking, and data stores.
_BAD_PORTS = frozenset(
    {
        *(1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566),
        *(6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
        *(2375, 3306, 5432, 6379, 9042, 11211, 27017),
    }
)
#: What `ipaddress` takes for public, and is not, or may stand for an address that is not.
_FORBIDDEN = tuple(
    ipaddress.ip_network(each)
    for each in (
        "168.63.129.16/32",  # Azure's own services, in every virtual network
        "192.0.0.0/24",  # protocols, and Oracle's metadata
        "192.88.99.0/24",  # 6to4 relays
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64, local
        "2001::/23",  # protocols, Teredo among them
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local
    )
)


class ForbiddenAddressError(Exception):
    """A host is at an address that webhooks may not reach."""


class Target(NamedTuple):
    """Where a URL points."""

    is_tls: bool
    #: As in the ``Host`` header and the certificate.
    host: str
    port: int
    #: Path and query.
    path: str


def to_target(url: str) -> Target:
    """Take a URL apart; touches no network.

    Raises:
        BadInputError: It is none that webhooks are sent to.
    """
    if len(url) > _MOST_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        raise BadInputError(
            f"webhookUrl: valid are up to {_MOST_URL_CHARS} printable ASCII characters, without "
            "blanks"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise BadInputError(f"webhookUrl: it cannot be read: {exc}") from exc
    _check(parts)
    port = _DEFAULT_PORTS[parts.scheme] if port is None else port
    if not _is_sane(port):
        raise BadInputError(
            f"webhookUrl: port {port} is not for webhooks: valid are 80, 443 and most above 1023"
        )
    path = parts.path or "/"
    query = f"?{parts.query}" if parts.query else ""
    return Target(parts.scheme == "https", str(parts.hostname), port, path + query)


def _check(parts: SplitResult) -> None:
    if parts.scheme not in _DEFAULT_PORTS:
        raise BadInputError("webhookUrl: valid are URLs that begin with https:// or http://")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise BadInputError(
            "webhookUrl: it holds credentials, which end up in logs: send them as authentication"
        )
    if not parts.hostname:
        raise BadInputError("webhookUrl: it names no host")
    if parts.fragment:
        raise BadInputError("webhookUrl: leave out what follows the #: it is never sent")
    if "%" in parts.netloc or "\\" in parts.netloc or not _is_host(parts.hostname):
        raise BadInputError("webhookUrl: its host is no host name and no address")


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return True
    labels = host.removesuffix(".").split(".")
    is_short = len(host) <= 253 and all(0 < len(label) <= 63 for label in labels)
    return is_short and all(c.isalnum() or c in "-_." for c in host)


def _is_sane(port: int) -> bool:
    return port in (80, 443) or (port > 1023 and port not in _BAD_PORTS)


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system's resolver has them. Blocks as long as that does.

    Raises:
        OSError: It has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Guard:
    """Says which addresses may be reached.

    Args:
        allowed: Networks that may be, whatever they are.
        resolver: Gives the addresses of a name.
    """

    def __init__(self, allowed: Sequence[Network] = (), *, resolver: Resolver = resolve) -> None:
        self._allowed = tuple(allowed)
        self._resolver = resolver

    def addresses(self, target: Target) -> list[str]:
        """The addresses of a target, all of them checked. Blocks: it asks the resolver.

        Raises:
            ForbiddenAddressError: One of them may not be reached. Then none is used: which one is
                connected to must not be left to chance.
            OSError: It has none.
        """
        found = list(self._resolver(target.host, target.port))
        if not found:
            raise OSError(f"{target.host} has no address")
        for each in found:
            if not self.may_reach(each):
                raise ForbiddenAddressError(
                    f"{target.host} is at an address that webhooks may not reach; "
                    "FIVEOBS_WEBHOOK_ALLOWED_NETWORKS says which private ones they may"
                )
        return found

    def may_reach(self, text: str) -> bool:
        """Whether an address may be connected to; ``False`` for what is none."""
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        if any(address in network for network in self._allowed):
            return True
        return _is_public(address) and "%" not in text


def _is_public(address: Address) -> bool:
    is_special = (
        address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or any(address in network for network in _FORBIDDEN)
    )
    return address.is_global and not is_special
