"""The files of ``collector-config/``: that they load, agree, and name what they read."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.peers.harness import prometheus
from tests.peers.harness.collector import binary

FOLDER = Path(__file__).resolve().parents[2] / "collector-config"
YAML_FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))

#: The environment block of the specification, which .env.example has to hold letter for letter.
SPEC_ENVIRONMENT = """\
# Track 1: Log Collection
FLUENT_BIT_HOST=localhost
FLUENT_BIT_PORT=9880
DISABLE_FLUENT_BIT_LOGGING=false

# Track 2: Tracing  \n\
OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317
OTEL_RESOURCE_ATTRIBUTES=service.name=emp-job-queue
OTEL_SERVICE_NAME=job-processor

# Track 3: Metrics (To Be Implemented)
OTEL_METRICS_EXPORTER=otlp
METRICS_COLLECTION_INTERVAL=30s

# Track 4: Code Monitoring
SENTRY_DSN=https://your-sentry-dsn@sentry.io/project
SENTRY_ENVIRONMENT=production
SENTRY_SAMPLE_RATE=0.1

# Track 5: Business Intelligence  \n\
MACHINE_ID=machine-prod-01
WORKER_ID=worker-gpu-01
CONNECTOR_LOGGING_ENABLED=true
"""

#: ``${NAME`` and ``${env:NAME``, the forms compose, Fluent Bit and the Collector know.
VARIABLE = re.compile(r"\$\{(?:env:)?([A-Z][A-Z0-9_]*)")
#: ``${NAME}`` in a whole value, with its default.
EXPANSION = re.compile(r"\$\{(?:env:)?[A-Z][A-Z0-9_]*:-([^}]*)\}")
COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)


def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def load(name: str) -> Any:
    return yaml.safe_load(read(name))


def load_with_defaults(name: str) -> Any:
    """The file as its program sees it when no variable is set."""
    return yaml.safe_load(EXPANSION.sub(r"\1", COMMENT.sub("", read(name))))


def variables(name: str) -> set[str]:
    return set(VARIABLE.findall(COMMENT.sub("", read(name))))


def settings(name: str = ".env.example") -> dict[str, str]:
    lines = (line for line in read(name).splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def collector_components() -> dict[str, set[str]]:
    """The component types of otel-collector.yaml by kind, names after ``/`` left off."""
    config = load("otel-collector.yaml")
    kinds = ("receivers", "processors", "connectors", "exporters", "extensions")
    return {kind: {name.partition("/")[0] for name in config[kind]} for kind in kinds}


def manifest_components() -> dict[str, set[str]]:
    """The components of the builder manifest, by kind, in the form in which a module is named."""
    manifest = load("otelcol-builder.yaml")
    kinds = ("receivers", "processors", "connectors", "exporters", "extensions")
    return {
        kind: {
            entry["gomod"].split()[0].rpartition("/")[2].removesuffix(kind[:-1])
            for entry in manifest[kind]
        }
        for kind in kinds
    }


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def promtool() -> str:
    return prometheus.promtool()


@pytest.fixture
def collector() -> str:
    return str(binary())


# --- each file by itself ---


@pytest.mark.parametrize("name", YAML_FILES)
def test_every_file_is_yaml(name: str) -> None:
    """Every YAML file loads and holds a mapping."""
    assert isinstance(load(name), dict)


def test_all_files_are_there_and_in_the_readme() -> None:
    """The README says of every file in the folder what it does."""
    names = {path.name for path in FOLDER.iterdir() if path.is_file()}
    expected = {"fluent-bit.yaml", "otel-collector.yaml", "prometheus-alerts.yaml"}
    assert expected < names
    unnamed = {name for name in names if f"`{name}`" not in read("README.md")}
    assert unnamed <= {"README.md", ".gitignore", ".env"}


@pytest.mark.parametrize("name", ["otel-collector.yaml", "fluent-bit.yaml"])
def test_every_variable_has_a_default_and_is_explained(name: str) -> None:
    """Both programs start with no variable set, and the README lists each they read."""
    text = COMMENT.sub("", read(name))
    assert len(VARIABLE.findall(text)) == len(EXPANSION.findall(text))
    assert {v for v in variables(name) if f"`{v}`" not in read("README.md")} == set()


def test_every_address_of_the_collector_is_a_variable() -> None:
    """No address in otel-collector.yaml is fixed, so that a test can start it on free ports."""
    lines = COMMENT.sub("", read("otel-collector.yaml")).splitlines()
    places = [line for line in lines if re.search(r"^\s+(endpoint|host|port|directory):", line)]
    assert len(places) >= 9
    assert [line for line in places if "${env:" not in line] == []


def test_nothing_listens_on_all_interfaces_by_default() -> None:
    """Started without settings, both programs listen on the loopback only."""
    for name in ("otel-collector.yaml", "fluent-bit.yaml"):
        assert "0.0.0.0" not in COMMENT.sub("", read(name))


# --- the Collector ---


def test_the_manifest_has_exactly_the_components_of_the_collector_file() -> None:
    """A Collector built from the manifest runs the file, and holds nothing it does not use."""
    configured = {
        kind: {name.replace("_", "") for name in names}
        for kind, names in collector_components().items()
    }
    built = manifest_components()
    # The module of the extension `file_storage` is storage/filestorage.
    assert built == configured


def test_the_manifest_is_of_one_release() -> None:
    """All modules of the manifest are of one release, and compose runs the same."""
    entries = [
        entry["gomod"].split()
        for kind, items in load("otelcol-builder.yaml").items()
        if kind not in ("dist", "providers")
        for entry in items
    ]
    release = load("otelcol-builder.yaml")["dist"]["version"]
    assert {version for _, version in entries} == {f"v{release}"}
    image = load("docker-compose.yaml")["services"]["otel-collector"]["image"]
    assert image.rpartition(":")[2] == release


def test_every_component_is_used_in_a_pipeline() -> None:
    """All that otel-collector.yaml configures is used, except debug, which one may choose."""
    config = load_with_defaults("otel-collector.yaml")
    service = config["service"]
    used = {
        component
        for pipeline in service["pipelines"].values()
        for part in ("receivers", "processors", "exporters")
        for component in pipeline.get(part, [])
    }
    configured = {
        name
        for kind in ("receivers", "processors", "exporters", "connectors")
        for name in config[kind]
    }
    assert configured - used == {"debug"}
    assert used <= configured
    assert set(service["extensions"]) == set(config["extensions"])


def test_memory_is_guarded_first_in_every_pipeline() -> None:
    """The memory limiter comes first, where a refusal still reaches the sender."""
    pipelines = load_with_defaults("otel-collector.yaml")["service"]["pipelines"]
    assert {pipeline["processors"][0] for pipeline in pipelines.values()} == {"memory_limiter"}


def test_errors_and_slow_traces_are_kept_beside_a_tenth_of_the_rest() -> None:
    """Tail sampling keeps 10% of normal traces, all with an error, and slow ones."""
    config = load_with_defaults("otel-collector.yaml")
    policies = {p["type"]: p[p["type"]] for p in config["processors"]["tail_sampling"]["policies"]}
    assert policies["status_code"] == {"status_codes": ["ERROR"]}
    assert policies["probabilistic"] == {"sampling_percentage": 10}
    assert policies["latency"]["threshold_ms"] > 0


def test_what_waits_for_the_backend_waits_on_disk() -> None:
    """The backend's queue is kept in file_storage and tried again for as long as it takes."""
    exporter = load_with_defaults("otel-collector.yaml")["exporters"]["otlp_http"]
    assert exporter["sending_queue"]["storage"] == "file_storage"
    assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s"


def test_the_collector_accepts_its_file(collector: str, tmp_path: Path) -> None:
    """The real Collector finds nothing wrong with its file, with and without a backend."""
    for exporters in ("[otlp_http]", "[debug]"):
        environment = os.environ | {
            "OTELCOL_STORAGE_DIR": str(tmp_path / "queue"),
            "OTELCOL_BACKEND_EXPORTERS": exporters,
            "OTLP_BACKEND_HEADERS": '{authorization: "Bearer key"}',
        }
        done = subprocess.run(
            [collector, "validate", "--config", str(FOLDER / "otel-collector.yaml")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


# --- Fluent Bit ---


def test_fluent_bit_takes_logs_in_three_ways_and_keeps_them_on_disk() -> None:
    """Forward on 24224, HTTP on 9880 and the journal, all with filesystem buffering."""
    config = load_with_defaults("fluent-bit.yaml")
    inputs = {item["name"]: item for item in config["pipeline"]["inputs"]}
    assert (inputs["forward"]["port"], inputs["http"]["port"]) == (24224, 9880)
    assert inputs["tail"]["path"] == "/var/lib/fiveobs/journal/*.log"
    assert {item["storage.type"] for item in inputs.values()} == {"filesystem"}
    assert config["service"]["storage.path"]


def test_fluent_bit_reads_the_journal_with_a_parser_that_exists() -> None:
    """The tail input's parser takes the time from the line, fractions of a second included."""
    config = load("fluent-bit.yaml")
    tail = next(item for item in config["pipeline"]["inputs"] if item["name"] == "tail")
    parser = next(item for item in config["parsers"] if item["name"] == tail["parser"])
    assert parser["format"] == "json"
    assert parser["time_key"] == "timestamp"
    assert parser["time_format"] == "%Y-%m-%dT%H:%M:%S.%LZ"


def test_fluent_bit_leaves_out_the_records_of_other_tracks() -> None:
    """The grep filter drops metric, span and envelope lines and no other type."""
    (grep,) = load("fluent-bit.yaml")["pipeline"]["filters"]
    key, pattern = grep["exclude"].split(maxsplit=1)
    assert key == "event_type"
    dropped = {"metric", "span", "envelope"}
    kept = {"log", "job.started", "metrics", "stage.span", "resource.allocated"}
    assert {name for name in dropped | kept if re.search(pattern, name)} == dropped


# --- compose ---


def test_env_example_holds_the_block_of_the_specification() -> None:
    """The specification's environment block is in .env.example, letter for letter."""
    assert SPEC_ENVIRONMENT in read(".env.example")


def test_env_example_has_every_variable_of_the_compose_file() -> None:
    """Whatever docker-compose.yaml reads is in .env.example."""
    assert variables("docker-compose.yaml") - set(settings()) == set()


def test_env_example_explains_every_setting() -> None:
    """Above each setting that the specification does not give stands a comment."""
    lines = read(".env.example").replace(SPEC_ENVIRONMENT, "").splitlines()
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if line and not line.startswith("#") and not before.startswith("# ")
    ]
    assert bare == []


def test_traces_are_thinned_once() -> None:
    """With .env.example as it is, workers and Collector together keep 10% of normal traces."""
    values = settings()
    kept_by_worker = float(values["FIVEOBS_TRACE_SAMPLE_RATIO"])
    assert kept_by_worker == 0.1
    kept = kept_by_worker * float(values["OTELCOL_TAIL_PERCENTAGE"]) / 100
    assert kept == pytest.approx(0.1)


def test_compose_defaults_are_those_of_env_example() -> None:
    """A default in docker-compose.yaml is what .env.example says: a missing line is harmless."""
    values = settings()
    found = re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", read("docker-compose.yaml"))
    different = {name: default for name, default in found if default and values[name] != default}
    assert different == {}


def test_images_are_pinned_by_tag() -> None:
    """Every image has a tag with a full version, and none is latest; ours is built here."""
    text = read("docker-compose.yaml")
    services = load("docker-compose.yaml")["services"]
    assert set(services) == {"worker", "fluent-bit", "otel-collector", "prometheus"}
    images = [item["image"] for item in services.values() if "build" not in item]
    images += re.findall(r"^\s+FROM (\S+)", text, re.MULTILINE)
    assert len(images) == 4
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+", image)] == []
    assert "latest" not in text


def test_compose_publishes_ports_on_the_loopback_only() -> None:
    """No port of the stack is open to the network."""
    ports = [
        port
        for item in load("docker-compose.yaml")["services"].values()
        for port in item.get("ports", [])
    ]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_compose_mounts_files_that_exist() -> None:
    """Every file that a container gets is in the folder, and every named volume is declared."""
    compose = load("docker-compose.yaml")
    sources = {
        volume.split(":")[0]
        for item in compose["services"].values()
        for volume in item.get("volumes", [])
    }
    files = {source for source in sources if source.startswith("./")}
    assert [source for source in files if not (FOLDER / source).is_file()] == []
    assert sources - files == set(compose["volumes"])


def test_compose_sets_only_what_the_programs_read() -> None:
    """What compose gives Fluent Bit and the Collector is read by their files."""
    services = load("docker-compose.yaml")["services"]
    for service, name in (
        ("fluent-bit", "fluent-bit.yaml"),
        ("otel-collector", "otel-collector.yaml"),
    ):
        assert set(services[service]["environment"]) <= variables(name)


def test_the_worker_runs_a_program_that_exists() -> None:
    """The example that the worker runs by default is in examples/."""
    assert (FOLDER.parent / "examples" / settings()["WORKER_EXAMPLE"]).is_file()


# --- alerts ---


def alert_rules() -> list[dict[str, Any]]:
    return [rule for group in load("prometheus-alerts.yaml")["groups"] for rule in group["rules"]]


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    """Each rule has a severity, a summary and a description, and a name that is used once."""
    rules = alert_rules()
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert {rule["labels"]["severity"] for rule in rules} == {"critical", "warning", "info"}
    assert [r["alert"] for r in rules if set(r["annotations"]) != {"summary", "description"}] == []


def test_every_alert_is_tested() -> None:
    """prometheus-alerts-test.yaml has a case for each rule."""
    tests = read("prometheus-alerts-test.yaml")
    assert [rule["alert"] for rule in alert_rules() if rule["alert"] not in tests] == []


def test_promtool_accepts_the_rules(promtool: str) -> None:
    """Prometheus' own checker accepts the rules and the scrape configuration."""
    for command in (("rules", "prometheus-alerts.yaml"), ("config", "prometheus.yaml")):
        done = run(promtool, "check", *command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_should(promtool: str) -> None:
    """Every case of prometheus-alerts-test.yaml holds."""
    done = run(promtool, "test", "rules", "prometheus-alerts-test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
