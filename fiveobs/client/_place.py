"""Where the monitor is, and what is sent along: from arguments, the environment, or the home.

The monitor keeps its address and its first token in files of ``FIVEOBS_HOME`` that only its own
user can read. On the same machine they need therefore not be repeated. The token is sent to that
address alone: to no other machine, and to nothing else that listens on this one.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from fiveobs._config import load_config
from fiveobs._version import __version__
from fiveobs.exceptions import ConfigError

__all__ = ["DEFAULT_TIMEOUT_S", "DEFAULT_URL", "Place", "find_place"]

#: Where ``fiveobs serve`` listens unless told otherwise.
DEFAULT_URL = "http://127.0.0.1:8390"
#: How long an answer may take, in seconds.
DEFAULT_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """A monitor, and one project of it."""

    #: Without a slash at its end.
    url: str
    token: str | None = field(repr=False)
    tenant_id: str
    project_id: str
    timeout_s: float

    @property
    def is_local(self) -> bool:
        """On this machine, where no proxy leads."""
        return _is_local(self.url)

    @property
    def headers(self) -> dict[str, str]:
        """Sent with every request."""
        found = {"User-Agent": f"fiveobs/{__version__}"}
        return found | {"Authorization": f"Bearer {self.token}"} if self.token else found

    def url_of(self, path: str) -> str:
        """The whole address of a path below the project's."""
        ids = f"{quote(self.tenant_id, safe='')}/{quote(self.project_id, safe='')}"
        return f"{self.url}/api/{ids}/execution/{path}"


def find_place(
    url: str | None,
    token: str | None,
    *,
    tenant_id: str | None = None,
    project_id: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    environ: Mapping[str, str] = os.environ,
) -> Place:
    """Take what is given, else what the environment says.

    Raises:
        ConfigError: The address, an id, the token or the time cannot be used.
    """
    home = load_config(environ, {}, strict=False).home / "monitor"
    own_url = _kept(home / "url")
    url = url or environ.get("FIVEOBS_MONITOR_URL") or own_url or DEFAULT_URL
    tenant_id = tenant_id or environ.get("FIVEOBS_TENANT_ID") or "default"
    project_id = project_id or environ.get("FIVEOBS_PROJECT_ID") or "default"
    _check_url(url)
    _check_ids(tenant_id=tenant_id, project_id=project_id)
    _check_timeout(timeout_s)
    token = token or environ.get("FIVEOBS_MONITOR_TOKEN")
    if not token and own_url and _port(url) == _port(own_url) is not None:
        token = _kept(home / "token")
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError("FIVEOBS_MONITOR_TOKEN: *** is no token; use one as it was printed")
    return Place(
        url=url.rstrip("/"),
        token=token or None,
        tenant_id=tenant_id,
        project_id=project_id,
        timeout_s=float(timeout_s),
    )


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port(url: str) -> int | None:
    """The port on this machine; ``None`` if it is another machine's."""
    parts = urlsplit(url)
    return (parts.port or (443 if parts.scheme == "https" else 80)) if _is_local(url) else None


def _kept(path: Path) -> str | None:
    """What the monitor has written there."""
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def _check_ids(**ids: str) -> None:
    for name, value in ids.items():
        if value in (".", "..") or "/" in value:
            raise ConfigError(f"{name}: {value!r} is no id; use one as in an address, without '/'")


def _check_url(url: str) -> None:
    problem = f"FIVEOBS_MONITOR_URL: {url!r} is no address of a monitor; use {DEFAULT_URL} or alike"
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as exc:
        raise ConfigError(problem) from exc
    if not is_usable or parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(problem)


def _check_timeout(timeout_s: Any) -> None:
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not is_number or not 0 < timeout_s < float("inf"):
        raise ConfigError(f"timeout_s: {timeout_s!r} is no time; use seconds, more than 0")
