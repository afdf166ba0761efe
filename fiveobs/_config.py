"""What is in force: one frozen `Config`, read from the environment and from ``configure()``.

Reads the mapping it is given, never ``os.environ``; writes nothing. A `Config` does not change and
may be shared between threads and processes. Two regimes: ``strict`` raises one `ConfigError` that
lists every problem; otherwise the job runs with the defaults and ``Config.problems`` says why.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from fiveobs._parsers import UNSET, UnusableError
from fiveobs._setting import Setting
from fiveobs._settings import SETTINGS
from fiveobs.exceptions import ConfigError

__all__ = ["MASK", "Config", "describe", "load_config"]

#: Shown where a secret is set.
MASK: Final = "********"
#: `Config.sources` of what nothing has set, and of what ``configure()`` has set.
DEFAULT: Final = "default"
CONFIGURED: Final = "configure()"

_SHOWN_CHARS: Final = 120
_USERINFO: Final = re.compile(r"(?<=://)[^\s/?#]*@")
#: Where OTLP goes when a gRPC endpoint names no port.
_GRPC_PORTS: Final = {"http": 4317, "https": 443}


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Config:
    """Every setting's value; `SETTINGS` says what each one means and where it comes from."""

    service: str
    resource_attributes: Mapping[str, str]
    home: Path
    worker_id: str
    machine_id: str
    tenant_id: str
    project_id: str
    connector_logging: bool
    enabled: bool
    log_level: str
    heartbeat_interval_s: float
    flush_interval_s: float
    shutdown_timeout_s: float
    tracks: tuple[Any, ...]

    journal_max_bytes: int
    journal_segment_bytes: int
    journal_memory_bytes: int
    #: Seconds between two fsyncs: infinity is never, 0.0 is after every record.
    journal_fsync: float

    fluent_bit_host: str
    fluent_bit_port: int
    fluent_bit_protocol: str
    fluent_bit_disabled: bool
    fluent_bit_tag: str
    fluent_bit_shared_key: str | None
    fluent_bit_username: str | None
    fluent_bit_password: str | None
    fluent_bit_tls: bool
    fluent_bit_tls_verify: bool
    fluent_bit_tls_ca: Path | None

    otel_disabled: bool
    traces_exporter: str
    #: With HTTP the full URL, with gRPC ``scheme://host:port``.
    traces_endpoint: str | None
    traces_protocol: str
    traces_headers: Mapping[str, str]
    traces_timeout_s: float
    traces_compression: str
    traces_certificate: Path | None
    traces_client_key: Path | None
    traces_client_certificate: Path | None
    traces_insecure: bool
    trace_sample_ratio: float
    trace_parent: str
    trace_slow_factor: float
    trace_buffer_spans: int

    metrics_exporter: str
    #: With HTTP the full URL, with gRPC ``scheme://host:port``.
    metrics_endpoint: str | None
    metrics_protocol: str
    metrics_headers: Mapping[str, str]
    metrics_timeout_s: float
    metrics_compression: str
    metrics_certificate: Path | None
    metrics_client_key: Path | None
    metrics_client_certificate: Path | None
    metrics_insecure: bool
    metrics_interval_s: float
    metrics_temporality: str
    metric_label_limit: int

    sentry_dsn: str | None
    sentry_environment: str | None
    sentry_release: str | None
    sentry_sample_rate: float
    sentry_traces_sample_rate: float
    sentry_profiles_sample_rate: float

    redact_keys: tuple[str, ...]
    redact_patterns: tuple[str, ...]

    #: What could not be used and what was done instead, one sentence each.
    problems: tuple[str, ...]
    #: Where each value came from: "default", "environment NAME" or "configure()".
    sources: Mapping[str, str]

    @property
    def logs_configured(self) -> bool:
        """Whether logs have a destination: host, port or protocol was given, and not disabled."""
        given = any(
            self.sources[f"fluent_bit_{name}"] != DEFAULT for name in ("host", "port", "protocol")
        )
        return given and not self.fluent_bit_disabled

    @property
    def traces_configured(self) -> bool:
        """Whether traces have a destination and are to be sent."""
        return self._sends_otlp(self.traces_exporter, self.traces_endpoint)

    @property
    def metrics_configured(self) -> bool:
        """Whether metrics have a destination and are to be sent."""
        return self._sends_otlp(self.metrics_exporter, self.metrics_endpoint)

    @property
    def errors_configured(self) -> bool:
        """Whether errors have a destination."""
        return self.sentry_dsn is not None

    def _sends_otlp(self, exporter: str, endpoint: str | None) -> bool:
        return endpoint is not None and exporter == "otlp" and not self.otel_disabled

    def __repr__(self) -> str:
        """Every field, with secrets masked."""
        shown = ", ".join(f"{name}={value!r}" for name, value, _source, _doc in describe(self))
        return f"Config({shown}, problems={self.problems!r})"


def load_config(
    environ: Mapping[str, str], overrides: Mapping[str, object], *, strict: bool
) -> Config:
    """Work out what is in force.

    Args:
        environ: The environment; an empty value counts as unset.
        overrides: What ``configure()`` was given, by attribute; it wins over the environment. An
            empty text counts as not given. ``None`` does too, except for a setting that may be
            absent: there it means absent, whatever the environment says.
        strict: ``True`` raises on any problem; ``False`` goes on with defaults.

    Returns:
        The configuration, with the source of every value.

    Raises:
        ConfigError: In strict mode, once, naming everything that cannot be used.
    """
    loading = _Loading(environ, overrides)
    for setting in SETTINGS:
        loading.resolve(setting)
    loading.check_names()
    loading.finish()
    if strict and loading.problems:
        raise ConfigError(_listed(loading.refusals))
    return Config(**loading.values, problems=tuple(loading.problems), sources=loading.sources)


def describe(config: Config) -> list[tuple[str, str, str, str]]:
    """Name, value (secrets masked), source and meaning of every setting, in the table's order."""
    return [
        (
            setting.attr,
            _shown(setting, getattr(config, setting.attr)),
            config.sources[setting.attr],
            setting.doc,
        )
        for setting in SETTINGS
    ]


class _Loading:
    """One run of `load_config`: the values so far, and what was wrong."""

    def __init__(self, environ: Mapping[str, str], overrides: Mapping[str, object]) -> None:
        self.environ = environ
        self.overrides = overrides
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        #: What was wrong, and the same with what was done instead.
        self.refusals: list[str] = []
        self.problems: list[str] = []

    def resolve(self, setting: Setting) -> None:
        """Settle one setting: from ``configure()``, from the environment, or its default."""
        value, source = self._given(setting)
        if value is UNSET:
            value, source = self._default(setting), DEFAULT
        self.values[setting.attr] = value
        self.sources[setting.attr] = source

    def _given(self, setting: Setting) -> tuple[Any, str]:
        override = self.overrides.get(setting.attr, UNSET)
        if override is None and setting.default is None:
            return None, CONFIGURED
        if override is not UNSET and override is not None and not _is_empty(override):
            name = f"configure({setting.attr}=…)"
            return self._parse(setting, name, override, CONFIGURED)
        for name in setting.env:
            text = self.environ.get(name, "").strip()
            value, source = (UNSET, "") if not text else self._read(setting, name, text)
            if source:
                return value, source
        return UNSET, DEFAULT

    def _read(self, setting: Setting, name: str, text: str) -> tuple[Any, str]:
        """One variable's say; the source is empty if it does not say anything."""
        source = f"environment {name}"
        reader = setting.readers.get(name)
        if reader is None:
            return self._parse(setting, name, text, source)
        try:
            value = reader(text, self.environ)
        except UnusableError as error:
            return self._refuse(setting, name, text, error), source
        return (UNSET, "") if value is None else (value, source)

    def _parse(self, setting: Setting, name: str, value: Any, source: str) -> tuple[Any, str]:
        try:
            return setting.parse(value), source
        except UnusableError as error:
            usable = self._refuse(setting, name, value, error)
        except Exception:  # a value whose own methods raise
            usable = self._refuse(setting, name, "", UnusableError("a plain value"))
        return usable, DEFAULT if usable is UNSET else source

    def _refuse(self, setting: Setting, name: str, value: Any, error: UnusableError) -> Any:
        """Note a problem; returns what to go on with, or `UNSET` for the default."""
        name, value = error.blame or (name, value)
        shown = MASK if setting.secret else _printable(value)
        usable = error.instead
        kept = self._default(setting) if usable is UNSET else usable
        remedy = _shown(setting, kept)
        self.refuse(
            f"{name} is {shown}: use {error.valid}",
            f"{remedy} is used instead" if remedy else "it is left out",
        )
        return usable

    def refuse(self, problem: str, remedy: str) -> None:
        """Note a problem, and what is done about it where nothing may be raised."""
        if problem not in self.refusals:  # one variable may set several settings
            self.refusals.append(problem)
            self.problems.append(f"{problem}; {remedy}")

    def _default(self, setting: Setting) -> Any:
        if setting.default is dict:
            return {}
        if callable(setting.default):
            return setting.default(self.environ, self.values)
        return setting.default

    def check_names(self) -> None:
        """Refuse arguments that are no settings, with the names that come close."""
        known = [setting.attr for setting in SETTINGS]
        for name in self.overrides:
            if name in known:
                continue
            close = difflib.get_close_matches(str(name), known, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else "see fiveobs config"
            self.refuse(
                f"configure() has no setting {str(name)[:_SHOWN_CHARS]!r}: {hint}", "ignored"
            )

    def finish(self) -> None:
        """Settle what needs more than one setting."""
        named = self.values["resource_attributes"].get("service.name")
        if named and self.sources["service"] == DEFAULT:  # configure(resource_attributes=…)
            self.values["service"] = named
            self.sources["service"] = self.sources["resource_attributes"]
        for signal in ("traces", "metrics"):
            self._finish_endpoint(signal)
        segment, most = self.values["journal_segment_bytes"], self.values["journal_max_bytes"]
        if segment > most:
            self.values["journal_segment_bytes"] = most // 4
            self.refuse(
                f"journal_segment_bytes is {segment} and journal_max_bytes is {most}: use a segment"
                " that fits into the journal several times",
                f"segments of {most // 4} bytes are used",
            )

    def _finish_endpoint(self, signal: str) -> None:
        endpoint = self.values[f"{signal}_endpoint"]
        if endpoint is None:
            return
        if endpoint.startswith("https://"):
            self.values[f"{signal}_insecure"] = False
        parts = urlsplit(endpoint)
        source = self.sources[f"{signal}_endpoint"]
        # OpenTelemetry takes a signal's own variable as it is, even without a path.
        bare = source == CONFIGURED and parts.path in {"", "/"}
        if self.values[f"{signal}_protocol"] == "grpc":
            netloc = parts.netloc if parts.port else f"{parts.netloc}:{_GRPC_PORTS[parts.scheme]}"
            endpoint = f"{parts.scheme}://{netloc}"
        elif bare or source == "environment OTEL_EXPORTER_OTLP_ENDPOINT":
            endpoint = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/v1/{signal}"))
        self.values[f"{signal}_endpoint"] = endpoint


def _listed(problems: list[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    lines = "".join(f"\n  - {problem}" for problem in problems)
    return f"{len(problems)} settings cannot be used:{lines}"


def _is_empty(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _printable(value: Any) -> str:
    try:
        shown = _masked(repr(value))
    except Exception:  # somebody's own __repr__
        return f"a {type(value).__name__}"
    return shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}…"


def _shown(setting: Setting, value: Any) -> str:
    """A value as people write it; secrets masked."""
    if value is None or value in ("", (), {}):
        return ""
    if setting.secret:
        return MASK
    if isinstance(value, Mapping):
        return _masked(",".join(f"{key}={item}" for key, item in value.items()))
    if isinstance(value, tuple):
        separator = ";;" if setting.attr == "redact_patterns" else ","
        names = (item if isinstance(item, str) else type(item).__name__ for item in value)
        return separator.join(names)
    if type(value) is float:
        return _shown_number(setting, value)
    return str(value).lower() if isinstance(value, bool) else _masked(str(value))


def _shown_number(setting: Setting, value: float) -> str:
    if setting.attr == "journal_fsync" and value in (0.0, float("inf")):
        return "never" if value else "always"
    return f"{value:g}s" if setting.attr.endswith(("_s", "_fsync")) else f"{value:g}"


def _masked(text: str) -> str:
    return _USERINFO.sub(f"{MASK}@", text)


# One table, one dataclass: they cannot disagree.
if {field.name for field in fields(Config)} - {"problems", "sources"} != {
    setting.attr for setting in SETTINGS
}:  # pragma: no cover - only while someone edits this
    raise AssertionError("Config and SETTINGS name different settings")
