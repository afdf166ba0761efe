"""The real Prometheus under ``collector-config/prometheus.yaml``, its rules included.

It is Debian's, 2.42 on Debian 12; ``docker-compose.yaml`` runs a 3.x, and what that does otherwise
is not tested: it is in no package registry.
"""

from __future__ import annotations

import json
import shutil
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.peers.harness.collector import CONFIG_FOLDER
from tests.peers.harness.program import HOST, Program, absent, answers, fetch, free_port

__all__ = ["Prometheus", "promtool"]

_REMEDY = "apt-get install prometheus"


def promtool() -> str:
    """The path of Prometheus' checker; calls `absent` if there is none."""
    return _found("promtool")


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        absent(program, _REMEDY)
    return str(path)


class Prometheus(Program):
    """Prometheus, which scrapes and evaluates every second.

    Everything else is as in the project's file: the rules, ``honor_labels``, the names of the jobs.

    Args:
        folder: Where it keeps its files.
        scrape: The ports that the jobs of the file have here, in the file's order: the workers'
            metrics, then the Collector's own. Jobs past the end of the list are left out.
    """

    name = "prometheus"

    def __init__(self, folder: Path, scrape: Sequence[int]) -> None:
        super().__init__(folder)
        self._scrape = scrape
        self._port = free_port()
        self.url = f"http://{HOST}:{self._port}"

    def command(self) -> list[str]:
        """The program, with the switch that the file says it needs for exemplars."""
        program = _found("prometheus")
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump(self._config()))
        return [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={HOST}:{self._port}",
            "--enable-feature=exemplar-storage",
        ]

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        return answers(f"{self.url}/-/ready")

    # -- what a test asks

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The present samples of an expression, as ``{"metric": labels, "value": number}``."""
        result = self._get("query", query=promql)["result"]
        return [{"metric": each["metric"], "value": float(each["value"][1])} for each in result]

    def exemplars(self, promql: str) -> list[dict[str, Any]]:
        """The exemplars of the last hour, each with the labels of its series in ``series``."""
        (now,) = self.query("vector(time())")
        span = {"start": str(now["value"] - 3600), "end": str(now["value"] + 60)}
        return [
            {**exemplar, "series": each["seriesLabels"]}
            for each in self._get("query_exemplars", query=promql, **span)
            for exemplar in each["exemplars"]
        ]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its health and the alerts that are pending or firing."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def alerts(self, name: str) -> list[dict[str, Any]]:
        """The pending and firing alerts of one rule."""
        alerts = self._get("alerts")["alerts"]
        return [each for each in alerts if each["labels"]["alertname"] == name]

    # -- how

    def _get(self, path: str, **parameters: str) -> Any:
        answer = fetch(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        return json.loads(answer)["data"]

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load((CONFIG_FOLDER / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(CONFIG_FOLDER / name) for name in config["rule_files"]]
        jobs = zip(config["scrape_configs"], self._scrape, strict=False)
        config["scrape_configs"] = [
            job | {"static_configs": [{"targets": [f"{HOST}:{port}"]}]} for job, port in jobs
        ]
        return config
