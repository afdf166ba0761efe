"""How the monitor is set up: from the environment, and from what ``fiveobs serve`` is given.

Reads only what it is handed. Whatever cannot be used is refused at the start, all of it at once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from fiveobs import _parsers as parse
from fiveobs._config import load_config
from fiveobs._parsers import UnusableError
from fiveobs.exceptions import ConfigError
from fiveobs.monitor.retention import policy
from fiveobs.monitor.retention.policy import Keep, Policy
from fiveobs.monitor.store.engine import default_url, sqlite_path

__all__ = ["VARIABLES", "MonitorSettings", "Network", "Variable", "load_settings"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8390
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitorSettings:
    """The monitor's settings; every one has the default that is in force without it."""

    #: ``FIVEOBS_HOME``: the journals are below it, and the store unless it is elsewhere.
    home: Path
    #: ``sqlite:///PATH`` or ``postgresql://…``; may hold a password, so it is not shown.
    store_url: str = field(repr=False)
    #: The address to listen on.
    host: str = DEFAULT_HOST
    #: The port to listen on; 0 takes any that is free.
    port: int = DEFAULT_PORT
    #: Private networks that webhooks may reach; none by default.
    webhook_allowed_networks: tuple[Network, ...] = ()
    #: Web pages of other origins that may ask; none by default.
    cors_origins: tuple[str, ...] = ()
    #: Proxies whose ``X-Forwarded-For`` is believed, by address or network.
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    #: The largest body of a request.
    max_request_bytes: int = 1024 * 1024
    #: The longest path and query.
    max_url_bytes: int = 8 * 1024
    #: All headers of a request together.
    max_header_bytes: int = 32 * 1024
    #: Bad tokens from one address in a minute, before it has to wait.
    failures_per_minute: int = 20
    #: How far taking events in may be behind, in seconds, before ``/readyz`` says no.
    max_ingest_lag_s: float = 60.0
    #: How long a stop may take, in seconds.
    stop_timeout_s: float = 10.0
    #: How long what is stored is kept, in seconds, by part; ``None`` is for ever.
    keep_logs_s: Keep = policy.DEFAULTS_S["logs"]
    keep_error_logs_s: Keep = policy.DEFAULTS_S["error_logs"]
    keep_metrics_s: Keep = policy.DEFAULTS_S["metrics"]
    keep_aggregates_s: Keep = policy.DEFAULTS_S["aggregates"]
    keep_errors_s: Keep = policy.DEFAULTS_S["errors"]
    keep_unresolved_errors_s: Keep = policy.DEFAULTS_S["unresolved_errors"]
    keep_events_s: Keep = policy.DEFAULTS_S["events"]
    keep_failed_events_s: Keep = policy.DEFAULTS_S["failed_events"]

    @property
    def retention(self) -> Policy:
        """How long what is stored is kept, where no tenant or project says otherwise."""
        return Policy({name: getattr(self, f"keep_{name}_s") for name in policy.DEFAULTS_S})

    @property
    def journal_folder(self) -> Path:
        """Where the journals are."""
        return self.home / "journal"

    @property
    def token_file(self) -> Path:
        """Where the first token of this home's own store is kept, for this user alone."""
        return self.home / "monitor" / "token"

    @property
    def url_file(self) -> Path:
        """Where the address of the monitor of this home's own store is kept while it runs."""
        return self.home / "monitor" / "url"

    @property
    def is_homes_store(self) -> bool:
        """Whether the store is the one that this home has without further ado."""
        return sqlite_path(self.store_url) == sqlite_path(default_url(self.home))


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """A setting that the environment can give."""

    name: str
    #: The field of `MonitorSettings`.
    attr: str
    parse: Callable[[Any], Any]
    doc: str


def _networks(value: Any) -> tuple[Network, ...]:
    """Comma-separated networks or addresses."""
    try:
        return tuple(ipaddress.ip_network(item) for item in parse.words(value))
    except ValueError:
        raise UnusableError("networks separated by commas, such as 10.0.0.0/8,fd00::/8") from None


def _proxies(value: Any) -> tuple[str, ...]:
    return tuple(
        str(network).removesuffix("/32").removesuffix("/128") for network in _networks(value)
    )


def _origins(value: Any) -> tuple[str, ...]:
    found = parse.words(value)
    # Never "*": a page that nobody has named is one that nobody has thought of.
    if all(_ORIGIN.fullmatch(item) for item in found):
        return found
    raise UnusableError("origins separated by commas, such as https://dashboard.example.com")


#: In the order in which they are documented.
VARIABLES: tuple[Variable, ...] = (
    Variable(
        name="FIVEOBS_STORE_URL",
        attr="store_url",
        parse=parse.text,
        doc="The store: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST:PORT/NAME`. Without"
        " it, `monitor/store.sqlite3` in `FIVEOBS_HOME`.",
    ),
    Variable(
        name="FIVEOBS_MONITOR_HOST",
        attr="host",
        parse=parse.host,
        doc="The address to listen on.",
    ),
    Variable(
        name="FIVEOBS_MONITOR_PORT",
        attr="port",
        parse=parse.whole(0, 65_535),
        doc="The port to listen on; 0 takes any that is free.",
    ),
    Variable(
        name="FIVEOBS_WEBHOOK_ALLOWED_NETWORKS",
        attr="webhook_allowed_networks",
        parse=_networks,
        doc="Private networks that webhooks may reach, such as `10.1.0.0/16`.",
    ),
    Variable(
        name="FIVEOBS_MONITOR_CORS_ORIGINS",
        attr="cors_origins",
        parse=_origins,
        doc="Web pages of other origins that may ask, such as `https://dashboard.example.com`.",
    ),
    Variable(
        name="FIVEOBS_MONITOR_TRUSTED_PROXIES",
        attr="trusted_proxies",
        parse=_proxies,
        doc="Reverse proxies whose `X-Forwarded-For` is believed, by address or network.",
    ),
    Variable(
        name="FIVEOBS_MONITOR_MAX_REQUEST_BYTES",
        attr="max_request_bytes",
        parse=parse.size(1024),
        doc="The largest body of a request, such as `1MiB`.",
    ),
    Variable(
        name="FIVEOBS_MONITOR_FAILURES_PER_MINUTE",
        attr="failures_per_minute",
        parse=parse.whole(1, 1_000_000),
        doc="Bad tokens from one address in a minute, before it has to wait.",
    ),
    Variable(
        name="FIVEOBS_MONITOR_MAX_INGEST_LAG",
        attr="max_ingest_lag_s",
        parse=parse.duration(1.0),
        doc="How far taking events in may be behind before `/readyz` says no, such as `60s`.",
    ),
    Variable(
        name="FIVEOBS_MONITOR_STOP_TIMEOUT",
        attr="stop_timeout_s",
        parse=parse.duration(0.5),
        doc="How long a stop may take, such as `10s`.",
    ),
    *(
        Variable(
            name=part.variable,
            attr=f"keep_{part.name}_s",
            parse=policy.keep,
            doc=f"How long is kept, such as `30d` or `forever`: {part.doc}",
        )
        for part in policy.PARTS
    ),
)


def load_settings(environ: Mapping[str, str], **overrides: Any) -> MonitorSettings:
    """Work out what is in force.

    Args:
        environ: The environment; an empty value counts as unset.
        overrides: By field; they win over the environment. ``None`` counts as not given.

    Raises:
        ConfigError: Something cannot be used; the message names all of it.
    """
    known = {each.name for each in fields(MonitorSettings)}
    if unknown := overrides.keys() - known:
        raise ConfigError(f"there is no setting {min(unknown)!r}: valid are {', '.join(known)}")
    given = {name: value for name, value in overrides.items() if value is not None}
    problems: list[str] = []
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        _read(variable, environ, given, values, problems)
    home = _home(environ, given.get("home"), problems)
    if problems:
        raise ConfigError("; ".join(problems))
    values.setdefault("store_url", default_url(home))
    return MonitorSettings(home=home, **values)


def _read(
    variable: Variable,
    environ: Mapping[str, str],
    given: Mapping[str, Any],
    values: dict[str, Any],
    problems: list[str],
) -> None:
    name, value = variable.name, environ.get(variable.name, "").strip()
    if variable.attr in given:
        name, value = f"--{variable.attr.replace('_', '-')}", given[variable.attr]
    if value == "":
        return
    try:
        values[variable.attr] = variable.parse(value)
    except UnusableError as error:
        problems.append(f"{name} is {value!r}: use {error.valid}")


def _home(environ: Mapping[str, str], given: Any, problems: list[str]) -> Path:
    config = load_config(environ, {} if given is None else {"home": given}, strict=False)
    if config.problems and (given is not None or environ.get("FIVEOBS_HOME")):
        problems += [
            each for each in config.problems if "home" in each.lower().partition(" is ")[0]
        ]
    return config.home
