"""The defaults that are worked out, and the variables that say a setting in other words.

Reads the environment it is given, and the machine (host name, home directory, program name) where a
default depends on it. Safe in any thread.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fiveobs import _parsers as parse
from fiveobs._parsers import UnusableError

__all__ = [
    "Derive",
    "Reader",
    "fluent_protocol",
    "hostname",
    "insecure_by_scheme",
    "milliseconds",
    "program",
    "protocol_by_port",
    "same_as",
    "sampler",
    "says_nothing_alone",
    "segment_bytes",
    "service_of_resource",
    "state_home",
]

#: Reads a variable that says a setting in other words; ``None`` if it does not say it.
Reader = Callable[[str, Mapping[str, str]], Any]
#: Works a default out of the environment and of the settings above it in the table.
Derive = Callable[[Mapping[str, str], Mapping[str, Any]], Any]


def service_of_resource(value: str, _environ: Mapping[str, str]) -> str | None:
    """The ``service.name`` among the resource attributes."""
    try:
        found = parse.pairs(value)
    except UnusableError as error:  # reported once, with resource_attributes
        found = error.instead if isinstance(error.instead, dict) else {}
    return found.get("service.name") or None


def program(_environ: Mapping[str, str], _values: Mapping[str, Any]) -> str:
    """The name of the program that runs."""
    script = Path(next(iter(getattr(sys, "argv", [])), ""))
    if script.stem == "__main__":  # started with python -m package
        script = script.parent
    name = script.name.removesuffix(".py")
    return name if name and not name.startswith("-") else "python"


def hostname(_environ: Mapping[str, str], _values: Mapping[str, Any]) -> str:
    """The name of this machine."""
    try:
        return socket.gethostname() or "localhost"
    except OSError:
        return "localhost"


def _temporary_home() -> Path:
    import tempfile

    user = os.getuid() if sys.platform != "win32" else os.environ.get("USERNAME", "user")
    try:
        return Path(tempfile.gettempdir()) / f"fiveobs-{user}"
    except OSError:
        return Path(f"/tmp/fiveobs-{user}")  # noqa: S108 - made with mode 0700 by its first user


def _user_home(environ: Mapping[str, str]) -> Path | None:
    try:
        home = Path(environ.get("HOME") or Path.home())
    except (RuntimeError, KeyError):
        return None
    return home if home.is_absolute() and home.is_dir() else None


def state_home(environ: Mapping[str, str], _values: Mapping[str, Any]) -> Path:
    """A directory of the user's that outlives the process."""
    wanted = environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_STATE_HOME", "")
    if Path(wanted).is_absolute():
        return Path(wanted) / "fiveobs"
    home = _user_home(environ)
    if home is None:
        return _temporary_home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "fiveobs"
    if sys.platform == "win32":
        return home / "AppData" / "Local" / "fiveobs"
    return home / ".local" / "state" / "fiveobs"


def segment_bytes(_environ: Mapping[str, str], values: Mapping[str, Any]) -> int:
    """A segment's size that leaves several segments in the journal."""
    # A small journal still needs several segments: only whole ones can be given up.
    return min(16 * 2**20, max(1024, int(values["journal_max_bytes"]) // 4))


def fluent_protocol(_environ: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """The protocol that Fluent Bit speaks on the port."""
    return "http" if values["fluent_bit_port"] == 9880 else "forward"


def sampler(value: str, environ: Mapping[str, str]) -> float:
    """The ratio that an OpenTelemetry sampler amounts to."""
    name = value.lower().removeprefix("parentbased_")
    if name in {"always_on", "always_off"}:
        return 1.0 if name == "always_on" else 0.0
    if name != "traceidratio":
        raise UnusableError("always_on, always_off or traceidratio, each also after parentbased_")
    ratio = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    try:
        return float(parse.number(0, 1)(ratio or 1.0))
    except UnusableError as error:
        raise UnusableError(error.valid, blame=("OTEL_TRACES_SAMPLER_ARG", ratio)) from None


def says_nothing_alone(_value: str, _environ: Mapping[str, str]) -> None:
    """For a variable that only completes another."""


def milliseconds(value: str, _environ: Mapping[str, str]) -> float:
    """A duration whose plain number is milliseconds."""
    return float(parse.duration(0.01, plain_unit_s=0.001)(value))


def same_as(attr: str) -> Derive:
    """The value of another setting."""
    return lambda _environ, values: values[attr]


def protocol_by_port(signal: str) -> Derive:
    """The OTLP protocol that the endpoint's port is registered for."""

    def derive(_environ: Mapping[str, str], values: Mapping[str, Any]) -> str:
        port = urlsplit(values[f"{signal}_endpoint"] or "").port
        return "grpc" if port == 4317 else "http/protobuf"

    return derive


def insecure_by_scheme(signal: str) -> Derive:
    """Whether the endpoint's scheme says that there is no TLS."""
    return lambda _environ, values: str(values[f"{signal}_endpoint"]).startswith("http://")
