"""What is in force, and where it came from."""

from __future__ import annotations

import argparse
import json
import math
import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveobs._config import Config, describe, load_config
from fiveobs._setting import TRACKS
from fiveobs._settings import SETTINGS
from fiveobs.cli import config as command
from fiveobs.exceptions import ConfigError

#: The example of the specification, with a DSN in the form that Sentry gives out.
EXAMPLE = {
    "FLUENT_BIT_HOST": "localhost",
    "FLUENT_BIT_PORT": "9880",
    "DISABLE_FLUENT_BIT_LOGGING": "false",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317",
    "OTEL_RESOURCE_ATTRIBUTES": "service.name=emp-job-queue",
    "OTEL_SERVICE_NAME": "job-processor",
    "OTEL_METRICS_EXPORTER": "otlp",
    "METRICS_COLLECTION_INTERVAL": "30s",
    "SENTRY_DSN": "https://0123abcd@sentry.io/42",
    "SENTRY_ENVIRONMENT": "production",
    "SENTRY_SAMPLE_RATE": "0.1",
    "MACHINE_ID": "machine-prod-01",
    "WORKER_ID": "worker-gpu-01",
    "CONNECTOR_LOGGING_ENABLED": "true",
}
SECRETS = {
    "FLUENT_BIT_SHARED_KEY": "hidden-1",
    "FLUENT_BIT_PASSWORD": "hidden-2",
    "SENTRY_DSN": "https://hidden3@sentry.io/42",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hidden-4",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:hidden-5@collector:4318",
}


def load(environ=None, **overrides) -> Config:
    return load_config(environ or {}, overrides, strict=True)


def lenient(environ=None, **overrides) -> Config:
    return load_config(environ or {}, overrides, strict=False)


def refusal(environ=None, **overrides) -> str:
    with pytest.raises(ConfigError) as caught:
        load(environ, **overrides)
    return str(caught.value)


def test_nothing_configured_sends_nothing():
    """With an empty environment no track has a destination."""
    config = load()
    tracks = ("logs", "traces", "metrics", "errors")
    assert not any(getattr(config, f"{track}_configured") for track in tracks)
    assert set(config.sources.values()) == {"default"}
    assert config.problems == ()


def test_the_example_of_the_specification_configures_every_track():
    """The example's variables work verbatim."""
    config = load(EXAMPLE)
    assert config.logs_configured
    assert config.traces_configured
    assert config.metrics_configured
    assert config.errors_configured
    assert (config.fluent_bit_protocol, config.traces_protocol) == ("http", "grpc")
    assert config.service == "job-processor"
    assert config.metrics_interval_s == 30.0
    assert (config.sentry_sample_rate, config.sentry_traces_sample_rate) == (0.1, 0.1)
    assert (config.machine_id, config.worker_id) == ("machine-prod-01", "worker-gpu-01")


def test_every_setting_is_a_field_in_a_known_group():
    """The table's names are unique and its groups are those that are shown."""
    names = [setting.attr for setting in SETTINGS]
    assert len(set(names)) == len(names)
    assert {setting.track for setting in SETTINGS} == set(TRACKS)
    assert [row[0] for row in describe(load())] == names


def test_an_empty_variable_counts_as_unset():
    """Compose files set variables to nothing; that is not a value."""
    assert load(dict.fromkeys(EXAMPLE, " ")) == load()


def test_configure_wins_over_the_environment():
    """An argument is taken before a variable, and the source says so."""
    config = load({"FLUENT_BIT_HOST": "a", "FLUENT_BIT_PORT": "1"}, fluent_bit_host="b")
    assert (config.fluent_bit_host, config.fluent_bit_port) == ("b", 1)
    assert config.sources["fluent_bit_host"] == "configure()"
    assert config.sources["fluent_bit_port"] == "environment FLUENT_BIT_PORT"


def test_none_takes_away_what_may_be_absent():
    """configure(sentry_dsn=None) switches errors off; None is otherwise as if not given."""
    config = load(EXAMPLE, sentry_dsn=None, service=None)
    assert not config.errors_configured
    assert config.service == "job-processor"


def test_all_problems_are_named_at_once():
    """One ConfigError names variable, value and what would be valid, for each."""
    message = refusal({"FLUENT_BIT_PORT": "99999", "FIVEOBS_ENABLED": "maybe"}, tracks="x")
    assert "FLUENT_BIT_PORT is '99999': use a whole number from 1 to 65535" in message
    assert "FIVEOBS_ENABLED is 'maybe': use true or false" in message
    assert "configure(tracks=…) is 'x': use a list of Track instances" in message
    assert message.startswith("3 settings")


def test_an_unknown_argument_is_told_what_comes_close():
    """A typing error in configure() is found out."""
    assert "did you mean sentry_dsn" in refusal(sentry_dns="https://a@b/1")
    assert lenient(sentry_dns="x").problems


def test_a_problem_without_configure_uses_the_default_and_says_so():
    """A bad variable never stops a job."""
    config = lenient({"FLUENT_BIT_PORT": "abc", "FLUENT_BIT_HOST": "b"})
    assert config.fluent_bit_port == 24224
    assert config.sources["fluent_bit_port"] == "default"
    assert config.problems == (
        "FLUENT_BIT_PORT is 'abc': use a whole number from 1 to 65535; 24224 is used instead",
    )
    assert config.logs_configured


def test_a_bad_general_variable_is_reported_once():
    """One variable that sets two signals is one problem."""
    assert len(lenient({"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://x"}).problems) == 1


@given(st.dictionaries(st.sampled_from([n for s in SETTINGS for n in s.env]), st.text()))
def test_no_environment_stops_a_job(environ):
    """Whatever variables hold, there is a configuration and it can be shown."""
    config = lenient(environ)
    assert repr(config)
    assert describe(config)


@given(st.sampled_from([s.attr for s in SETTINGS]), st.from_type(object))
def test_no_override_escapes_as_another_error(attr, value):
    """configure() raises ConfigError or nothing."""
    problems = lenient(**{attr: value}).problems
    if problems:
        assert attr in refusal(**{attr: value})


def test_secrets_are_masked_wherever_they_are_shown():
    """Neither repr nor describe nor a problem shows a secret."""
    config = load(SECRETS)
    assert "hidden" not in repr(config)
    assert "hidden" not in str(describe(config))
    assert config.fluent_bit_password == "hidden-2"
    broken = {**SECRETS, "SENTRY_DSN": "hidden", "OTEL_EXPORTER_OTLP_HEADERS": "hidden"}
    assert "hidden" not in refusal(broken)
    assert "hidden" not in refusal({"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://user:hidden@host"})


def test_values_are_shown_as_people_write_them():
    """What describe shows can be given back as it is."""
    shown = {row[0]: row[1] for row in describe(load(EXAMPLE, journal_fsync="always"))}
    assert shown["journal_max_bytes"] == "536870912"
    assert (shown["enabled"], shown["journal_fsync"], shown["flush_interval_s"]) == (
        *("true", "always", "1s"),
    )
    assert load({}, **{name: value for name, value in shown.items() if "*" not in value})


def test_a_config_can_be_pickled():
    """It may travel to another process."""
    config = load(EXAMPLE)
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    ("environ", "endpoint", "protocol"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317"}, "http://localhost:4317", "grpc"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317/x"}, "http://c:4317", "grpc"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces", "http"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/base"}, "https://c/base/v1/traces", "http"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/x"}, "http://c:4318/x", "http"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318"}, "http://c:4318", "http"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "https://c:443",
            "grpc",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://general:4317",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://own:4318/t",
            },
            "http://own:4318/t",
            "http",
        ),
    ],
)
def test_otlp_endpoints(environ, endpoint, protocol):
    """The port decides on the protocol and the protocol on the path, as the standard says."""
    config = load(environ)
    assert config.traces_endpoint == endpoint
    assert config.traces_protocol == {"http": "http/protobuf"}.get(protocol, protocol)


def test_an_endpoint_of_configure_may_leave_the_path_out():
    """configure(metrics_endpoint=host) means that host's usual path."""
    config = load(metrics_endpoint="http://c:4318")
    assert config.metrics_endpoint == "http://c:4318/v1/metrics"
    assert not config.traces_configured


def test_a_signals_own_variable_comes_before_the_general_one():
    """Headers and timeouts are taken whole from the more special variable."""
    config = load(
        {
            "OTEL_EXPORTER_OTLP_HEADERS": "a=1",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "X-B=2%2C3, c=d=e",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "7",
        }
    )
    assert config.traces_headers == {"x-b": "2,3", "c": "d=e"}
    assert config.metrics_headers == {"a": "1"}
    assert config.traces_timeout_s == 7.0


def test_http_json_is_replaced_by_protobuf():
    """http/json is a problem, and protobuf over HTTP is what goes on."""
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}
    assert lenient(environ).traces_protocol == "http/protobuf"
    assert "http/json" in refusal(environ)


def test_another_exporter_is_a_problem_and_sends_nothing():
    """Who asked for the console did not ask for OTLP."""
    environ = {"OTEL_TRACES_EXPORTER": "console", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}
    config = lenient(environ)
    assert not config.traces_configured
    assert config.metrics_configured
    assert load(environ | {"OTEL_TRACES_EXPORTER": "console,otlp"}).traces_configured


def test_an_https_endpoint_is_never_insecure():
    """The scheme wins over the insecure switch."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_EXPORTER_OTLP_INSECURE": "true"}
    assert not load(environ).traces_insecure
    assert load({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}).traces_insecure


def test_the_sdk_switch_turns_traces_and_metrics_off():
    """OTEL_SDK_DISABLED keeps its meaning."""
    config = load(EXAMPLE | {"OTEL_SDK_DISABLED": "true"})
    assert not config.traces_configured
    assert not config.metrics_configured
    assert config.logs_configured


def test_logs_can_be_disabled():
    """DISABLE_FLUENT_BIT_LOGGING wins over a destination."""
    assert not load(EXAMPLE | {"DISABLE_FLUENT_BIT_LOGGING": "1"}).logs_configured


@pytest.mark.parametrize(
    ("environ", "ratio"),
    [
        ({"OTEL_TRACES_SAMPLER": "always_off"}, 0.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.2"}, 0.2),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, 1.0),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.2"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "always_off", "FIVEOBS_TRACE_SAMPLE_RATIO": "0.5"}, 0.5),
    ],
)
def test_the_standard_samplers_are_understood(environ, ratio):
    """OpenTelemetry's sampler variables give the ratio where ours does not."""
    assert load(environ).trace_sample_ratio == ratio


def test_a_bad_sampler_argument_is_named_itself():
    """The variable at fault is the one in the message."""
    message = refusal({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"})
    assert message.startswith("OTEL_TRACES_SAMPLER_ARG is '7'")


@pytest.mark.parametrize(
    ("value", "seconds"), [("500ms", 0.5), ("2m", 120.0), (0.25, 0.25), ("30", 30.0), ("1h", 3600)]
)
def test_durations(value, seconds):
    """Durations take a unit, or are seconds."""
    assert load(metrics_interval_s=value).metrics_interval_s == seconds


@pytest.mark.parametrize("value", ["soon", "-1s", "5 parsecs", True, math.nan, math.inf, "9" * 15])
def test_what_is_no_duration(value):
    """What cannot be waited for is refused."""
    assert "metrics_interval_s" in refusal(metrics_interval_s=value)


def test_the_standard_interval_is_in_milliseconds():
    """OTEL_METRIC_EXPORT_INTERVAL counts as the standard says."""
    assert load({"OTEL_METRIC_EXPORT_INTERVAL": "1500"}).metrics_interval_s == 1.5


@pytest.mark.parametrize(
    ("value", "expected"),
    [("16MiB", 2**24), ("64MB", 64 * 10**6), ("1048576", 2**20), (4096, 4096)],
)
def test_sizes(value, expected):
    """Sizes take binary and decimal units."""
    assert load(journal_memory_bytes=value).journal_memory_bytes == expected


def test_a_small_journal_still_has_several_segments():
    """The default segment shrinks with the journal; one that does not fit is a problem."""
    assert load(journal_max_bytes="1MiB").journal_segment_bytes == 2**18
    assert "several times" in refusal(journal_max_bytes="1MiB", journal_segment_bytes="2MiB")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("never", math.inf), ("always", 0.0), ("250ms", 0.25), (math.inf, math.inf)],
)
def test_fsync(value, seconds):
    """Syncing is never, always, or after a while."""
    assert load(journal_fsync=value).journal_fsync == seconds


def test_service_falls_back_to_the_resource_and_then_to_the_program(monkeypatch):
    """A service always has a name."""
    assert load({"OTEL_RESOURCE_ATTRIBUTES": "a=b,service.name=x%20y"}).service == "x y"
    for argv, name in (
        (["/opt/job.py"], "job"),
        (["/opt/pkg/__main__.py"], "pkg"),
        (["-c"], "python"),
        ([], "python"),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        assert load().service == name


def test_resource_attributes_keep_the_good_pairs():
    """A broken pair is reported, the others are used."""
    config = lenient({"OTEL_RESOURCE_ATTRIBUTES": "a=1,broken,b=2%2C3"})
    assert config.resource_attributes == {"a": "1", "b": "2,3"}
    assert len(config.problems) == 1


def test_home_is_absolute_and_falls_back(tmp_path, monkeypatch):
    """The journal's place does not depend on the working directory, and there always is one."""
    monkeypatch.chdir(tmp_path)
    assert load(home="x").home == tmp_path / "x"
    assert load(home=Path("/y")).home == Path("/y")
    if sys.platform == "linux":
        assert load({"HOME": str(tmp_path)}).home == tmp_path / ".local/state/fiveobs"
        assert load({"XDG_STATE_HOME": str(tmp_path)}).home == tmp_path / "fiveobs"
        assert load({"HOME": "/does/not/exist"}).home.name.startswith("fiveobs-")


@pytest.mark.parametrize(
    "dsn", ["https://sentry.io/42", "a@b/1", "https://key@sentry.io/project", "ftp://a@b/1"]
)
def test_what_is_no_dsn(dsn):
    """A DSN that the Sentry SDK would refuse is refused here."""
    assert "SENTRY_DSN is ********" in refusal({"SENTRY_DSN": dsn})


def test_patterns_are_checked():
    """A bad pattern is reported and the good ones are used."""
    environ = {"FIVEOBS_REDACT_PATTERNS": "a+;;(;;b*\nP-\\d+", "FIVEOBS_REDACT_KEYS": "x, y z"}
    config = lenient(environ)
    assert config.redact_patterns == ("a+", r"P-\d+")
    assert config.redact_keys == ("x", "y z")
    assert len(config.problems) == 1


def test_the_command_prints_a_table_with_secrets_masked(monkeypatch, capsys):
    """``fiveobs config`` groups by track and ends with what cannot be used."""
    for name, value in {**EXAMPLE, **SECRETS, "FIVEOBS_LOG_LEVEL": "loud"}.items():
        monkeypatch.setenv(name, value)
    assert command.run(argparse.Namespace(json=False)) == 1
    out = capsys.readouterr().out
    assert "hidden" not in out
    assert "environment FLUENT_BIT_HOST" in out
    assert "FIVEOBS_LOG_LEVEL is 'loud'" in out.partition("problems")[2]


def test_the_command_prints_json(monkeypatch, capsys):
    """``fiveobs config --json`` is one object with the same content."""
    for name in [name for setting in SETTINGS for name in setting.env]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MACHINE_ID", "m")
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["config", "--json"])
    assert args.run(args) == 0
    shown = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in shown["settings"]}
    assert rows["machine_id"]["value"] == "m"
    assert len(rows) == len(SETTINGS)
    assert shown["problems"] == []
