"""Every setting in one table: its name, its variables, its default and what it means.

`load_config` (in ``_config``) reads this table; ``fiveobs config`` and the reference page are made
from it. Holds data only; safe in any thread.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

from fiveobs import _defaults as defaults
from fiveobs import _parsers as parse
from fiveobs._parsers import Parser
from fiveobs._setting import Setting

__all__ = ["SETTINGS"]


def _group(track: str, *settings: Setting) -> tuple[Setting, ...]:
    return tuple(replace(setting, track=track) for setting in settings)


def _otlp_setting(
    signal: str, name: str, parser: Parser, default: Any, doc: str, **more: Any
) -> Setting:
    """A setting that each OTLP signal has; its own variable comes before the general one."""
    variable = name.removesuffix("_s").upper()
    return Setting(
        attr=f"{signal}_{name}",
        env=(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{variable}", f"OTEL_EXPORTER_OTLP_{variable}"),
        parse=parser,
        default=default,
        doc=doc.replace("SIGNAL", signal),
        **more,
    )


def _otlp(signal: str) -> tuple[Setting, ...]:
    setting = partial(_otlp_setting, signal)
    return (
        Setting(
            attr=f"{signal}_exporter",
            env=(f"OTEL_{signal.upper()}_EXPORTER",),
            parse=parse.exporter,
            default="otlp",
            doc=f"Whether {signal} are sent: otlp or none.",
        ),
        setting(
            "endpoint",
            parse.endpoint,
            None,
            "Where SIGNAL go; without it none are sent. With HTTP the general variable gets"
            " /v1/SIGNAL appended and the one for SIGNAL is used as it is.",
            default_text="none",
        ),
        setting(
            "protocol",
            parse.otlp_protocol,
            defaults.protocol_by_port(signal),
            "How SIGNAL are sent: grpc or http/protobuf.",
            default_text="grpc on port 4317, else http/protobuf",
        ),
        setting(
            "headers",
            parse.headers,
            dict,
            "Headers sent with SIGNAL, as percent-encoded name=value pairs.",
            secret=True,
            default_text="none",
        ),
        setting(
            "timeout_s",
            parse.duration(0.01),
            10.0,
            "How long one export of SIGNAL may take; a plain number is seconds, as in"
            " OpenTelemetry's Python SDK.",
        ),
    )


def _otlp_transport(signal: str) -> tuple[Setting, ...]:
    setting = partial(_otlp_setting, signal)
    return (
        setting(
            "compression",
            parse.choice("none", "gzip", "deflate"),
            "none",
            "How SIGNAL are compressed: none, gzip or deflate.",
        ),
        setting("certificate", parse.path, None, "The CA certificates trusted for SIGNAL."),
        setting("client_key", parse.path, None, "The private key shown when sending SIGNAL."),
        setting("client_certificate", parse.path, None, "The certificate shown with that key."),
        setting(
            "insecure",
            parse.boolean,
            defaults.insecure_by_scheme(signal),
            "Whether gRPC sends SIGNAL without TLS; an https endpoint always uses TLS.",
            default_text="true for an http endpoint, else false",
        ),
    )


_GENERAL: Final = _group(
    "general",
    Setting(
        attr="service",
        env=("FIVEOBS_SERVICE", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"),
        parse=parse.text,
        default=defaults.program,
        default_text="the program's name",
        doc="The service that jobs belong to unless they name one; of the resource attributes it"
        " is service.name.",
        readers={"OTEL_RESOURCE_ATTRIBUTES": defaults.service_of_resource},
    ),
    Setting(
        attr="resource_attributes",
        env=("OTEL_RESOURCE_ATTRIBUTES",),
        parse=parse.pairs,
        default=dict,
        default_text="none",
        doc="Attributes of everything this process sends, as percent-encoded key=value pairs.",
    ),
    Setting(
        attr="home",
        env=("FIVEOBS_HOME",),
        parse=parse.path,
        default=defaults.state_home,
        default_text="fiveobs in the user's state directory, else in the temporary directory",
        doc="The directory that the journal is in; a worker and fiveobs serve must have the same.",
    ),
    Setting(
        attr="worker_id",
        env=("WORKER_ID",),
        parse=parse.text,
        default="",
        default_text="host and process id",
        doc="The name of this worker in every record.",
    ),
    Setting(
        attr="machine_id",
        env=("MACHINE_ID",),
        parse=parse.text,
        default=defaults.hostname,
        default_text="the host name",
        doc="The name of this machine in every record.",
    ),
    Setting(
        attr="tenant_id",
        env=("FIVEOBS_TENANT_ID",),
        parse=parse.identifier,
        default="default",
        doc="The tenant whose jobs this process runs, as the monitor's URLs name it.",
    ),
    Setting(
        attr="project_id",
        env=("FIVEOBS_PROJECT_ID",),
        parse=parse.identifier,
        default="default",
        doc="The tenant's project whose jobs this process runs.",
    ),
    Setting(
        attr="connector_logging",
        env=("CONNECTOR_LOGGING_ENABLED",),
        parse=parse.boolean,
        default=True,
        doc="Whether ConnectorLogger records anything.",
    ),
    Setting(
        attr="enabled",
        env=("FIVEOBS_ENABLED",),
        parse=parse.boolean,
        default=True,
        doc="Whether fiveobs does anything; false leaves only the jobs themselves.",
    ),
    Setting(
        attr="log_level",
        env=("FIVEOBS_LOG_LEVEL",),
        parse=parse.level,
        default="info",
        doc="The lowest level of log that is recorded: debug, info, warning, error or critical.",
    ),
    Setting(
        attr="heartbeat_interval_s",
        env=("FIVEOBS_HEARTBEAT_INTERVAL",),
        parse=parse.duration(0.01),
        default=5.0,
        doc="How often a worker says that it is alive.",
    ),
    Setting(
        attr="flush_interval_s",
        env=("FIVEOBS_FLUSH_INTERVAL",),
        parse=parse.duration(0.01),
        default=1.0,
        doc="How often each track sends what the journal holds for it.",
    ),
    Setting(
        attr="shutdown_timeout_s",
        env=("FIVEOBS_SHUTDOWN_TIMEOUT",),
        parse=parse.duration(0.0),
        default=5.0,
        doc="How long the end of the program may wait for all tracks together; 0 does not wait.",
    ),
    Setting(
        attr="tracks",
        env=(),
        parse=parse.instances,
        default=(),
        default_text="none",
        doc="Further tracks, as instances; they get every record after the built-in ones.",
    ),
)

_EVENTS: Final = _group(
    "events",
    Setting(
        attr="journal_max_bytes",
        env=("FIVEOBS_JOURNAL_MAX_BYTES",),
        parse=parse.size(4096),
        default=512 * 2**20,
        doc="How much the journal may take on disk before its oldest segments are given up.",
    ),
    Setting(
        attr="journal_segment_bytes",
        env=("FIVEOBS_JOURNAL_SEGMENT_BYTES",),
        parse=parse.size(1024),
        default=defaults.segment_bytes,
        default_text="16 MiB, or a quarter of journal_max_bytes if that is less",
        doc="How large one file of the journal gets.",
    ),
    Setting(
        attr="journal_memory_bytes",
        env=("FIVEOBS_JOURNAL_MEMORY_BYTES",),
        parse=parse.size(1024),
        default=8 * 2**20,
        doc="How much is held in memory while the journal cannot be written.",
    ),
    Setting(
        attr="journal_fsync",
        env=("FIVEOBS_JOURNAL_FSYNC",),
        parse=parse.fsync,
        default=float("inf"),
        default_text="never",
        doc="When records are forced to disk: never, always, or at most this long after they were"
        " written.",
    ),
)

_LOGS: Final = _group(
    "logs",
    Setting(
        attr="fluent_bit_host",
        env=("FLUENT_BIT_HOST",),
        parse=parse.host,
        default="localhost",
        doc="The host of Fluent Bit; logs are sent when host, port or protocol is set.",
    ),
    Setting(
        attr="fluent_bit_port",
        env=("FLUENT_BIT_PORT",),
        parse=parse.whole(1, 65535),
        default=24224,
        doc="The port of Fluent Bit; 9880 is its HTTP input.",
    ),
    Setting(
        attr="fluent_bit_protocol",
        env=("FLUENT_BIT_PROTOCOL",),
        parse=parse.choice("forward", "http", "stdout"),
        default=defaults.fluent_protocol,
        default_text="http on port 9880, else forward",
        doc="How logs reach Fluent Bit: forward, http or stdout.",
    ),
    Setting(
        attr="fluent_bit_disabled",
        env=("DISABLE_FLUENT_BIT_LOGGING",),
        parse=parse.boolean,
        default=False,
        doc="Whether nothing is sent to Fluent Bit even though it is configured.",
    ),
    Setting(
        attr="fluent_bit_tag",
        env=("FLUENT_BIT_TAG",),
        parse=parse.text,
        default="fiveobs",
        doc="The tag that records carry in Fluent Bit.",
    ),
    Setting(
        attr="fluent_bit_shared_key",
        env=("FLUENT_BIT_SHARED_KEY",),
        parse=parse.text,
        default=None,
        doc="The shared key of the forward input.",
        secret=True,
    ),
    Setting(
        attr="fluent_bit_username",
        env=("FLUENT_BIT_USERNAME",),
        parse=parse.text,
        default=None,
        doc="The user name that the input asks for.",
    ),
    Setting(
        attr="fluent_bit_password",
        env=("FLUENT_BIT_PASSWORD",),
        parse=parse.text,
        default=None,
        doc="The password that the input asks for.",
        secret=True,
    ),
    Setting(
        attr="fluent_bit_tls",
        env=("FLUENT_BIT_TLS",),
        parse=parse.boolean,
        default=False,
        doc="Whether the connection to Fluent Bit uses TLS.",
    ),
    Setting(
        attr="fluent_bit_tls_verify",
        env=("FLUENT_BIT_TLS_VERIFY",),
        parse=parse.boolean,
        default=True,
        doc="Whether the certificate of Fluent Bit is checked.",
    ),
    Setting(
        attr="fluent_bit_tls_ca",
        env=("FLUENT_BIT_TLS_CA",),
        parse=parse.path,
        default=None,
        doc="The CA certificates trusted for Fluent Bit.",
    ),
)

_TRACES: Final = _group(
    "traces",
    Setting(
        attr="otel_disabled",
        env=("OTEL_SDK_DISABLED",),
        parse=parse.boolean,
        default=False,
        doc="Whether neither traces nor metrics are sent.",
    ),
    *_otlp("traces"),
    *_otlp_transport("traces"),
    Setting(
        attr="trace_sample_ratio",
        env=("FIVEOBS_TRACE_SAMPLE_RATIO", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
        parse=parse.number(0, 1),
        default=1.0,
        doc="The share of normal jobs whose traces are kept; failed and slow jobs always are.",
        readers={
            "OTEL_TRACES_SAMPLER": defaults.sampler,
            "OTEL_TRACES_SAMPLER_ARG": defaults.says_nothing_alone,
        },
    ),
    Setting(
        attr="trace_parent",
        env=("FIVEOBS_TRACE_PARENT",),
        parse=parse.choice("continue", "link"),
        default="continue",
        doc="Whether a job continues its caller's trace, or starts its own with a link to it.",
    ),
    Setting(
        attr="trace_slow_factor",
        env=("FIVEOBS_TRACE_SLOW_FACTOR",),
        parse=parse.number(0),
        default=3.0,
        doc="How many times the usual duration makes a job slow, so its trace is kept; 0: never.",
    ),
    Setting(
        attr="trace_buffer_spans",
        env=("FIVEOBS_TRACE_BUFFER_SPANS",),
        parse=parse.whole(1),
        default=10_000,
        doc="How many spans of jobs that are not decided yet are held.",
    ),
)

_METRICS: Final = _group(
    "metrics",
    *_otlp("metrics"),
    *_otlp_transport("metrics"),
    Setting(
        attr="metrics_interval_s",
        env=("METRICS_COLLECTION_INTERVAL", "OTEL_METRIC_EXPORT_INTERVAL"),
        parse=parse.duration(0.01),
        default=30.0,
        doc="How often metrics are sent; a plain number is seconds in the first variable and"
        " milliseconds in the second.",
        readers={"OTEL_METRIC_EXPORT_INTERVAL": defaults.milliseconds},
    ),
    Setting(
        attr="metrics_temporality",
        env=("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",),
        parse=parse.choice("cumulative", "delta", "lowmemory"),
        default="cumulative",
        doc="What counters say, the sum or what was added: cumulative, delta or lowmemory.",
    ),
    Setting(
        attr="metric_label_limit",
        env=("FIVEOBS_METRIC_LABEL_LIMIT",),
        parse=parse.whole(1),
        default=2000,
        doc="How many label sets a metric may have before the rest become one overflow series.",
    ),
)

_ERRORS: Final = _group(
    "errors",
    Setting(
        attr="sentry_dsn",
        env=("SENTRY_DSN",),
        parse=parse.sentry_dsn,
        default=None,
        default_text="none",
        doc="Where errors go; without it none are sent.",
        secret=True,
    ),
    Setting(
        attr="sentry_environment",
        env=("SENTRY_ENVIRONMENT",),
        parse=parse.sentry_name(64, "/\\", "none", ".", ".."),
        default=None,
        doc="The environment that errors are filed under.",
    ),
    Setting(
        attr="sentry_release",
        env=("SENTRY_RELEASE",),
        parse=parse.sentry_name(200, "/\\", ".", "..", "latest"),
        default=None,
        doc="The release that errors are filed under.",
    ),
    Setting(
        attr="sentry_sample_rate",
        env=("SENTRY_SAMPLE_RATE",),
        parse=parse.number(0, 1),
        default=0.0,
        doc="The share of jobs whose performance is sent to Sentry; errors are always sent.",
    ),
    Setting(
        attr="sentry_traces_sample_rate",
        env=("SENTRY_TRACES_SAMPLE_RATE",),
        parse=parse.number(0, 1),
        default=defaults.same_as("sentry_sample_rate"),
        default_text="the value of sentry_sample_rate",
        doc="The share of jobs that are sent to Sentry as transactions.",
    ),
    Setting(
        attr="sentry_profiles_sample_rate",
        env=("SENTRY_PROFILES_SAMPLE_RATE",),
        parse=parse.number(0, 1),
        default=0.0,
        doc="The share of those transactions that are profiled.",
    ),
)

_REDACTION: Final = _group(
    "redaction",
    Setting(
        attr="redact_keys",
        env=("FIVEOBS_REDACT_KEYS",),
        parse=parse.words,
        default=(),
        default_text="none",
        doc="Further names whose values are redacted, separated by commas.",
    ),
    Setting(
        attr="redact_patterns",
        env=("FIVEOBS_REDACT_PATTERNS",),
        parse=parse.patterns,
        default=(),
        default_text="none",
        doc="Further regular expressions to redact by, one a line or separated by ;;.",
    ),
)

#: Every setting; a default that is worked out may use those above it.
SETTINGS: Final[tuple[Setting, ...]] = (
    *_GENERAL,
    *_EVENTS,
    *_LOGS,
    *_TRACES,
    *_METRICS,
    *_ERRORS,
    *_REDACTION,
)
