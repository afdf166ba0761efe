"""``collector-config/docker-compose.yaml``, read by compose's own loader."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.peers.harness.compose import ComposeError, load

pytestmark = pytest.mark.peer

CONFIG = Path(__file__).resolve().parents[2] / "collector-config"
#: A value that no default has, for a setting of each type.
_OWN = {"OTELCOL_MEMORY": "1234m", "WORKER_EXAMPLE": "consumer.py", "PROMETHEUS_RETENTION": "77d"}
#: Mistakes of every kind that compose can know: key, value, reference, interpolation, type.
_MISTAKES = {
    "a key that does not exist": (r"    healthcheck:", "    healthchek:", "healthchek"),
    "a size that is none": (r"mem_limit: .*", "mem_limit: lots", "invalid size: 'lots'"),
    "a duration that is none": (r"interval: 30s", "interval: soon", 'invalid duration "soon"'),
    "a port that is none": (r":9090$", ":port", "Invalid containerPort: port"),
    "a volume that is not declared": (
        r"- otelcol-data:",
        "- otelcol-date:",
        "undefined volume otelcol-date",
    ),
    "a service that does not exist": (
        r"    build:",
        "    depends_on: [fluentbit]\n    build:",
        'undefined service "fluentbit"',
    ),
    "a file of settings that is not there": (r"env_file: .env", "env_file: .gone", "not found"),
    "a variable that is not set": (r"OTELCOL_MEMORY:-768m", "OTELCOL_MEMOIRE:?set it", "set it"),
}


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """A copy of the folder in which the README's ``cp .env.example .env`` was done."""
    folder = tmp_path / "collector-config"
    shutil.copytree(CONFIG, folder, ignore=shutil.ignore_patterns(".env"))
    shutil.copy(folder / ".env.example", folder / ".env")
    return folder


def change(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(
        pattern, lambda _: replacement, path.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert count, f"{pattern!r} is not in {path.name} any more"
    path.write_text(text, encoding="utf-8")


def environment(project: dict[str, Any], service: str) -> dict[str, str]:
    found: dict[str, str] = project["services"][service]["environment"]
    return found


def test_compose_takes_the_file_with_the_example_settings(stack: Path) -> None:
    """The file is valid with ``.env.example`` as it is, and holds the four services."""
    project = load(stack)
    assert set(project["services"]) == {"worker", "fluent-bit", "otel-collector", "prometheus"}
    assert set(project["volumes"]) >= {"fiveobs-home"}


@pytest.mark.parametrize("mistake", _MISTAKES)
def test_a_mistake_in_the_file_is_found(stack: Path, mistake: str) -> None:
    """The check can fail: a planted mistake is refused, with compose's own words for it."""
    pattern, replacement, said = _MISTAKES[mistake]
    change(stack / "docker-compose.yaml", pattern, replacement)
    with pytest.raises(ComposeError, match=re.escape(said)):
        load(stack)


def test_an_empty_env_file_is_enough(stack: Path) -> None:
    """Every variable has a default: with nothing set the result is that of ``.env.example``.

    Only the worker differs, since it gets the whole of ``.env``.
    """
    with_example = load(stack)["services"]
    (stack / ".env").write_text("", encoding="utf-8")
    without = load(stack)["services"]
    for services in (with_example, without):
        del services["worker"]["environment"]
    assert without == with_example


def test_a_setting_in_env_reaches_its_program(stack: Path) -> None:
    """What a user writes into ``.env`` is what the containers get."""
    for name, value in _OWN.items():
        change(stack / ".env", rf"^{name}=.*", f"{name}={value}")
    services = load(stack)["services"]
    assert services["otel-collector"]["mem_limit"] == str(1234 * 1024 * 1024)
    assert services["worker"]["command"] == ["python", "examples/consumer.py"]
    assert "--storage.tsdb.retention.time=77d" in services["prometheus"]["command"]


def test_the_readme_lines_for_a_backend_reach_the_collector(stack: Path) -> None:
    """The README's three lines for a backend, put into ``.env``, arrive with quotes as meant."""
    readme = (CONFIG / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^((?:OTELCOL_BACKEND|OTLP_BACKEND)_\w+)=(.*)$", readme, re.MULTILINE)
    assert len(lines) == 3
    for name, value in lines:
        change(stack / ".env", rf"^{name}=.*", f"{name}={value}")
    found = environment(load(stack), "otel-collector")
    assert found["OTELCOL_BACKEND_EXPORTERS"] == "[otlp_http]"
    assert found["OTLP_BACKEND_ENDPOINT"] == "https://otlp.example.com"
    assert found["OTLP_BACKEND_HEADERS"] == '{authorization: "Bearer KEY"}'


def test_the_readme_steps_for_a_shared_key_give_it_to_both_sides(stack: Path) -> None:
    """With the README's line in place, worker and Fluent Bit have one key, by that name."""
    readme = (CONFIG / "README.md").read_text(encoding="utf-8")
    line = re.search(r"^ +FLUENT_BIT_SHARED_KEY: .*\n", readme, re.MULTILINE)
    assert line is not None
    anchor = "      FLUENT_BIT_LISTEN: 0.0.0.0\n"
    change(stack / "docker-compose.yaml", re.escape(anchor), line[0] + anchor)
    change(stack / ".env", r"^FLUENT_BIT_PORT=.*", "FLUENT_BIT_PORT=24224")
    with (stack / ".env").open("a", encoding="utf-8") as file:
        file.write("FLUENT_BIT_SHARED_KEY=a-long-random-key\n")
    change(stack / "fluent-bit.yaml", r"^( +)# (shared_key|self_hostname): ", "      shared_key: ")
    project = load(stack)
    assert environment(project, "worker")["FLUENT_BIT_SHARED_KEY"] == "a-long-random-key"
    assert environment(project, "fluent-bit")["FLUENT_BIT_SHARED_KEY"] == "a-long-random-key"
    assert "shared_key: ${FLUENT_BIT_SHARED_KEY}" in (stack / "fluent-bit.yaml").read_text()


def test_the_worker_gets_the_specified_settings_with_the_names_of_the_containers(
    stack: Path,
) -> None:
    """The worker runs with the whole of ``.env``, and reaches its two neighbours by name."""
    found = environment(load(stack), "worker")
    assert found["FLUENT_BIT_HOST"] == "fluent-bit"
    assert found["FLUENT_BIT_PORT"] == "9880"
    assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel-collector:4317"
    assert found["MACHINE_ID"] == "machine-prod-01"
    assert found["FIVEOBS_TRACE_SAMPLE_RATIO"] == "0.1"


def test_what_must_survive_is_in_volumes(stack: Path) -> None:
    """The journals, Fluent Bit's chunks and the Collector's queue outlive their containers."""
    services = load(stack)["services"]
    volumes = {
        (name, volume["source"], volume["target"])
        for name, service in services.items()
        for volume in service.get("volumes", [])
        if volume["type"] == "volume"
    }
    assert {
        ("worker", "fiveobs-home", environment(load(stack), "worker")["FIVEOBS_HOME"]),
        ("fluent-bit", "fluent-bit-data", "/var/lib/fluent-bit"),
        ("otel-collector", "otelcol-data", "/var/lib/otelcol"),
        ("prometheus", "prometheus-data", "/prometheus"),
    } <= volumes
