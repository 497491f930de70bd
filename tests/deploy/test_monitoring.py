"""Dashboard and alerts: queries against a real Prometheus and a live server, every alert with its fault."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from wmserve_client import Acted, Client, Guard, InvalidRequest
from wmserve_export.reference import calibrate

from deploy.checks import __main__ as proofs
from deploy.checks import tools
from deploy.checks.policies import operation
from loadtest import monitoring
from tests.conftest import ROOT, Server

WORLD = "two_room"
HERE = ROOT / "tests" / "deploy"
TESTS = ("alerts_test.yml", "alerts_slow_test.yml")
QUERIES = [(panel["title"], target["expr"]) for panel in monitoring.PANELS for target in panel["targets"]]
RATE_INTERVAL_S, SCRAPED_FOR_S = 15, 12

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="Prometheus is not installed: apt-get install prometheus",
)


def promtool(*arguments: str) -> str:
    """Run promtool; what it says where it fails."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, cwd=HERE, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_each_alert_fires_for_its_fault_and_only_then() -> None:
    """Rules are valid; promtool plays faults, and a healthy server, against them."""
    assert promtool("check", "rules", str(monitoring.RULES)) == ""
    assert promtool("test", "rules", *TESTS) == ""


def test_each_alert_is_tested() -> None:
    """A rule that nobody has seen fire is none."""
    rules, tests = monitoring.RULES.read_text(), "".join((HERE / name).read_text() for name in TESTS)
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
    with monitoring.prometheus(tmp_path_factory.mktemp("prometheus"), server.http.removeprefix("http://")) as api:
        with Client(server.grpc) as client:
            until = time.monotonic() + SCRAPED_FOR_S
            while time.monotonic() < until:
                ask_everything(client)
        yield api


@pytest.mark.parametrize(("title", "expression"), QUERIES, ids=[f"{title}-{i}" for i, (title, _) in enumerate(QUERIES)])
def test_every_panel_has_data(prometheus: httpx.Client, title: str, expression: str) -> None:
    """Numbers, not NaN: a panel that is empty under load is a broken one."""
    samples = monitoring.answered(prometheus, "query", query=monitoring.filled_in(expression, RATE_INTERVAL_S))
    values = [float(sample["value"][1]) for sample in samples]
    assert np.isfinite(values).any(), f"{title}: {samples}"


@pytest.mark.skipif(not tools.INSTALLED.exists(), reason=f"Helm is not installed: {tools.INSTALL}")
def test_queries_of_autoscalers_have_answers(prometheus: httpx.Client) -> None:
    """One number each, whatever is known of pods here."""
    keda = next(values for values in tools.all_values() if "keda" in values.name)
    queries = set(operation.queries(proofs.release(keda).of("ScaledObject")))
    assert len(queries) == 2
    for query in queries:
        (sample,) = monitoring.answered(prometheus, "query", query=re.sub(r"{[^}]*}", "", query))
        assert np.isfinite(float(sample["value"][1]))


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
