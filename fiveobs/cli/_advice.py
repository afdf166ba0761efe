"""What to try next when a destination does not answer as it should.

Follows the order in which such things are found: the network, the credentials, the collector's own
logs, a simpler configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from fiveobs._config import Config

__all__ = ["how_to_configure", "what_to_try"]


class _Kind(NamedTuple):
    """A kind of failure and the words by which its message is known, in lower case."""

    name: str
    signs: tuple[str, ...]


#: The first that fits counts.
_KINDS = (
    _Kind("credentials", (" 401", " 403", "unauthenticated", "permission_denied", "shared key")),
    _Kind("grpc port", ("looks like a grpc port",)),
    _Kind("http port", ("looks like an http port",)),
    _Kind("http input", ("answered in http;", "not the forward", "sent something else")),
    _Kind("tls", ("looks like a port that wants", "certificate", "tls", "ssl", "without tls")),
    _Kind("quota", (" 429", " 402", "resource_exhausted", "rate limit")),
    _Kind("path", (" 404", " 405", "unimplemented", "not in otlp")),
    _Kind("name", ("not a host name", "not resolved", "name resolution", "getaddrinfo", "dns")),
    _Kind("name", ("errors resolving", "domain name not found")),  # gRPC's words for it
    _Kind("refused", ("refused", "unreachable", "no route")),
    _Kind("silence", ("within", "timed out", "deadline_exceeded", "no answer")),
    _Kind("closed", ("closed the connection", "reset", "unavailable")),
    _Kind("not http", ("did not answer in http",)),
)

_NAMES = {"logs": "Fluent Bit", "traces": "the OpenTelemetry Collector", "errors": "Sentry"}
_NAMES["metrics"] = _NAMES["traces"]

_CONFIGURE = {
    "logs": "set FLUENT_BIT_HOST and FLUENT_BIT_PORT (24224 for forward, 9880 for HTTP)",
    "traces": "set OTEL_EXPORTER_OTLP_ENDPOINT, for example http://localhost:4317",
    "metrics": "set OTEL_EXPORTER_OTLP_ENDPOINT, for example http://localhost:4317",
    "errors": "set SENTRY_DSN to the DSN from the project's settings in Sentry",
}


def how_to_configure(config: Config, track: str) -> str:
    """What to set so that a track is sent, in one line."""
    if track == "logs" and config.fluent_bit_disabled:
        return "switched off by DISABLE_FLUENT_BIT_LOGGING; unset it to send logs"
    if track in ("traces", "metrics"):
        if config.otel_disabled:
            return f"switched off by OTEL_SDK_DISABLED; unset it to send {track}"
        if getattr(config, f"{track}_exporter") != "otlp":
            return f"switched off by OTEL_{track.upper()}_EXPORTER; unset it to send {track}"
    return _CONFIGURE[track]


def what_to_try(config: Config, track: str, error: str) -> list[str]:
    """The next steps after a failed probe, the likeliest first."""
    low = error.lower()
    kind = next((kind.name for kind in _KINDS if any(sign in low for sign in kind.signs)), "other")
    steps = _first_steps(config, track, kind)
    if check := _check(config, track):
        steps.append(f"try by hand: {check}")
    if track != "errors":
        steps.append(f"read the logs of {_NAMES[track]} itself")
    return steps


def _first_steps(config: Config, track: str, kind: str) -> list[str]:
    if kind == "credentials":
        return [_CREDENTIALS[track]]
    if kind in ("refused", "closed", "http input", "not http", "grpc port", "http port"):
        running = f"is {_NAMES[track]} running, and reachable from here?"
        first = [running] if kind in ("refused", "closed") and track != "errors" else []
        return [*first, *_port_steps(config, track)]
    return {
        "name": ["is the host's name right? Inside a container, localhost is the container itself"],
        "silence": [
            "a firewall that swallows packets looks like this: check the network between the two",
            *(_port_steps(config, track) if track != "errors" else []),
            "try again with a longer --timeout",
        ],
        "tls": _tls_steps(track),
        "quota": ["the destination limits us: check its quota, or lower the sampling ratio"],
        "path": _path_steps(track),
    }.get(kind, [])


_CREDENTIALS = {
    "logs": "check FLUENT_BIT_SHARED_KEY, FLUENT_BIT_USERNAME and FLUENT_BIT_PASSWORD: they must be"
    " those of Fluent Bit's input",
    "traces": "check OTEL_EXPORTER_OTLP_HEADERS, for example authorization=Bearer%20<token>",
    "metrics": "check OTEL_EXPORTER_OTLP_HEADERS, for example authorization=Bearer%20<token>",
    "errors": "check SENTRY_DSN: copy it anew from the project's settings in Sentry (client keys)",
}


def _port_steps(config: Config, track: str) -> list[str]:
    if track == "logs":
        return [
            (
                "9880 is Fluent Bit's HTTP input and 24224 its forward input:"
                f" FLUENT_BIT_PORT is {config.fluent_bit_port} and {config.fluent_bit_protocol} is"
                " spoken; FLUENT_BIT_PROTOCOL=http or forward says so explicitly"
            )
        ]
    if track == "errors":
        return ["check host and port of SENTRY_DSN, and HTTPS_PROXY if there is a proxy"]
    protocol = getattr(config, f"{track}_protocol")
    return [
        (
            "4317 is the collector's gRPC port and 4318 its HTTP port:"
            f" {protocol} is spoken; OTEL_EXPORTER_OTLP_PROTOCOL=grpc or http/protobuf says so"
            " explicitly"
        )
    ]


def _tls_steps(track: str) -> list[str]:
    if track == "logs":
        return [
            "set FLUENT_BIT_TLS to true or false as the input has it, FLUENT_BIT_TLS_CA to its CA"
        ]
    if track == "errors":
        return ["check http or https in SENTRY_DSN, and SSL_CERT_FILE for a CA of your own"]
    return [
        (
            "check http or https in OTEL_EXPORTER_OTLP_ENDPOINT, and OTEL_EXPORTER_OTLP_CERTIFICATE"
            " for a CA of your own"
        )
    ]


def _path_steps(track: str) -> list[str]:
    if track in ("traces", "metrics"):
        return [
            (
                f"with HTTP, OTEL_EXPORTER_OTLP_ENDPOINT gets /v1/{track} appended, while"
                f" OTEL_EXPORTER_OTLP_{track.upper()}_ENDPOINT is used as it is"
            )
        ]
    if track == "errors":
        return ["check the project number at the end of SENTRY_DSN"]
    return ["is there a Fluent Bit http input on that port, and no other server?"]


def _check(config: Config, track: str) -> str:
    """A command that shows whether the destination answers at all."""
    if track == "logs":
        return _check_logs(config)
    if track == "errors":
        parts = urlsplit(config.sentry_dsn or "")
        project = parts.path.rpartition("/")[2]
        host = parts.netloc.rpartition("@")[2]
        return f"curl -i -X POST {parts.scheme}://{host}/api/{project}/envelope/"
    collector = urlsplit(getattr(config, f"{track}_endpoint") or "").hostname
    return f"curl http://{collector}:8888/metrics (the collector's own metrics)"


def _check_logs(config: Config) -> str:
    host, port = config.fluent_bit_host, config.fluent_bit_port
    if config.fluent_bit_protocol == "http":
        scheme = "https" if config.fluent_bit_tls else "http"
        return (
            f"curl -i -X POST {scheme}://{host}:{port}/{config.fluent_bit_tag}"
            """ -H 'Content-Type: application/json' -d '{"test": "message"}'"""
        )
    return f"nc -vz {host} {port}" if config.fluent_bit_protocol == "forward" else ""
