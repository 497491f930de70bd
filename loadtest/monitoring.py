"""A real Prometheus beside a server, with the rules of `deploy/`, and the dashboard's queries."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from loadtest.serving import ROOT, free_port

FILES = ROOT / "deploy" / "chart" / "files"
RULES = FILES / "alerts.yml"
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@contextmanager
def prometheus(folder: Path, address: str) -> Iterator[httpx.Client]:
    """Scrape a server's `host:port` every second while the block runs; its API."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "wmserve", "static_configs": [{"targets": [address]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1/", timeout=10) as api:
                yield api
        finally:
            process.terminate()
            process.wait(20)


def filled_in(expression: str, interval_s: int) -> str:
    """An expression with what Grafana puts in the place of its variables."""
    return expression.replace("$__rate_interval", f"{interval_s}s").replace("$world", ".*")


def answered(api: httpx.Client, path: str, **parameters: Any) -> list[dict[str, Any]]:
    """The series that Prometheus answers a query with; RuntimeError with its words where it refuses."""
    answer = api.get(path, params=parameters)
    if answer.status_code != 200:
        raise RuntimeError(answer.text)
    series: list[dict[str, Any]] = answer.json()["data"]["result"]
    return series
