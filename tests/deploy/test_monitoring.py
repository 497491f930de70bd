"""Dashboard and alerts: queries against a real Prometheus and a live server, every alert with its fault."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from wmserve_client import Acted, Client, Guard, InvalidRequest
from wmserve_export.reference import calibrate

from tests.conftest import ROOT, Server, free_port

WORLD = "two_room"
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "wmserve.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
RATE_INTERVAL, WORLDS = "15s", ".*"
"""What Grafana puts in the place of its variables."""
SCRAPED_FOR_S = 12

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="Prometheus is not installed: apt-get install prometheus",
)


def promtool(*arguments: str) -> str:
    """Run promtool; what it says where it fails."""
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, cwd=DEPLOY / "prometheus", check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_each_alert_fires_for_its_fault_and_only_then() -> None:
    """Rules are valid; promtool plays faults, and a healthy server, against them."""
    assert promtool("check", "rules", "alerts.yml") == ""
    assert promtool("test", "rules", "alerts_test.yml") == ""


def test_each_alert_is_tested() -> None:
    """A rule that nobody has seen fire is none."""
    rules, tests = ((DEPLOY / "prometheus" / name).read_text() for name in ("alerts.yml", "alerts_test.yml"))
    assert set(re.findall(r"alert: (\w+)", rules)) == set(re.findall(r'alertname="(\w+)"', tests))


def ask_everything(client: Client) -> None:
    """One round of what callers do, healthy and not."""
    for one in calibrate.trajectories(calibrate.TEST_SEED, 3):
        start = client.encode(WORLD, one.observations[0])
        client.rollout(WORLD, start, one.actions[:25])
        for _ in range(9):
            client.plan(WORLD, start, one.observations[3])
        client.plan(WORLD, start, one.observations[3], guard=Guard(tolerance=1e-6))
        client.observe(WORLD, one.observations[1], Acted(start, one.actions[:5]), session="monitored")
        for frame in one.observations:
            client.encode(WORLD, frame)
    with pytest.raises(InvalidRequest):
        client.encode(WORLD, np.zeros((2, 3000, 3), np.uint8))


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus that has scraped a server under load, with the rules loaded."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(DEPLOY / "prometheus" / "alerts.yml")],
        "scrape_configs": [
            {"job_name": "wmserve", "static_configs": [{"targets": [server.http.removeprefix("http://")]}]}
        ],
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
                with Client(server.grpc) as client:
                    until = time.monotonic() + SCRAPED_FOR_S
                    while time.monotonic() < until:
                        ask_everything(client)
                yield api
        finally:
            process.terminate()
            process.wait(20)


def query(api: httpx.Client, expression: str) -> list[dict[str, Any]]:
    """The samples of an expression now."""
    for variable, value in {"$__rate_interval": RATE_INTERVAL, "$world": WORLDS}.items():
        expression = expression.replace(variable, value)
    answer = api.get("query", params={"query": expression})
    assert answer.status_code == 200, answer.text
    samples: list[dict[str, Any]] = answer.json()["data"]["result"]
    return samples


@pytest.mark.parametrize(("title", "expression"), QUERIES, ids=[f"{title}-{i}" for i, (title, _) in enumerate(QUERIES)])
def test_every_panel_has_data(prometheus: httpx.Client, title: str, expression: str) -> None:
    """Numbers, not NaN: a panel that is empty under load is a broken one."""
    samples = query(prometheus, expression)
    values = [float(sample["value"][1]) for sample in samples]
    assert np.isfinite(values).any(), f"{title}: {samples}"


def test_rules_are_evaluated_and_a_healthy_server_fires_none(prometheus: httpx.Client) -> None:
    """Against the metrics that there really are: a misspelt one would be silent for ever."""
    groups = prometheus.get("rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
    names = {name for rule in rules for name in re.findall(r"\bwmserve_\w+", rule["query"])}
    known = set(prometheus.get("label/__name__/values").json()["data"])
    assert names <= known


def test_exemplars_lead_back_to_decisions(prometheus: httpx.Client) -> None:
    """Buckets of disagreement name plans that fell into them."""
    moment = time.time()
    asked = {"query": "wmserve_disagreement_bucket", "start": moment - 60, "end": moment}
    found = prometheus.get("query_exemplars", params=asked).json()["data"]
    decisions = [one["labels"]["decision_id"] for series in found for one in series["exemplars"]]
    assert decisions
    assert all(re.fullmatch(r"dec_[\w-]{22}", decision) for decision in decisions)
