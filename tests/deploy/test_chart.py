"""The chart: rendered by a real Helm, held against schemas and policies, each of which is seen to fail."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from wmserve_server.metrics import Metrics
from wmserve_server.settings import Settings

from deploy.checks import __main__ as proofs
from deploy.checks import policies, readme, schemas, tools
from deploy.checks.breakages import BREAKAGES, Breakage
from deploy.checks.policies import operation
from deploy.checks.refusals import REFUSALS, Refusal
from deploy.checks.release import Release, environment

pytestmark = pytest.mark.skipif(not tools.INSTALLED.exists(), reason=f"Helm is not installed: {tools.INSTALL}")

VALUES = tools.all_values()
MADE = {"host", "http_port", "grpc_port", "triton_address", "triton_servers", "max_in_flight", "drain_delay_s"} | {
    "drain_timeout_s"
}
"""Settings that the chart makes of its values."""
OWN_TRITON = {"model_repository", "triton_home", "triton_threads", "triton_ready_timeout_s"}
"""Settings that a gateway before somebody else's Triton does not look at."""


@pytest.fixture(scope="module")
def releases() -> dict[str, Release]:
    """Every values file, rendered."""
    return {values.name: proofs.release(values) for values in VALUES}


@pytest.mark.parametrize("values", VALUES, ids=lambda values: values.name)
@pytest.mark.parametrize(("age", "kubernetes"), [(tools.AGES[0], 0), (tools.NEWEST, -1)])
def test_every_values_file_makes_what_kubernetes_takes(values: tools.Values, age: str, kubernetes: int) -> None:
    """Helm's linter, the schemas and kubectl have nothing to say, of the oldest and the newest; the rest in between
    is for `make deploy-check`."""
    tools.lint(values.path, age)
    assert list(proofs.check_schemas(values, age, schemas.versions()[kubernetes])) == []
    assert list(proofs.check_kubectl(values, age)) == []


@pytest.mark.parametrize("values", VALUES, ids=lambda values: values.name)
def test_every_values_file_keeps_to_the_policies(releases: dict[str, Release], values: tools.Values) -> None:
    """All rules, in every form."""
    assert policies.broken(releases[values.name]) == {}


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda one: f"{one.rule}-{one.path.rpartition('/')[2]}")
def test_a_broken_rule_is_seen(releases: dict[str, Release], breakage: Breakage) -> None:
    """One change, and the rule that it breaks says so."""
    assert breakage.rule in policies.broken(breakage.of(releases[breakage.values]))


def test_every_rule_is_broken_once() -> None:
    """A rule that nobody has seen fail is none."""
    assert {breakage.rule for breakage in BREAKAGES} == {rule.__name__ for rule in policies.RULES}


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_values_that_would_be_regretted_are_refused(refusal: Refusal) -> None:
    """By name, before anything is rendered."""
    assert refusal.verdict(tools.NEWEST) is None


@pytest.mark.parametrize(
    ("values", "path", "value"),
    [
        ("cpu-claim", "Deployment/gateway/spec/template/spec/containers/0/livenesProbe", {}),
        ("cpu-claim", "Service/triton/spec/clusterIP", ["None"]),
        ("cpu-storage-hpa", "HorizontalPodAutoscaler/triton/spec/maxReplicas", "four"),
        ("cpu-claim", "PodDisruptionBudget/triton/spec/minAvailble", 1),
        ("gpu-image-keda", "ScaledObject/triton/spec/fallbck", {}),
        ("gpu-image-keda", "ScaledObject/triton/spec/triggers/0/metadata", [1]),
        ("gpu-image-keda", "ServiceMonitor/triton/spec/endpoints/0/intervall", "15s"),
    ],
)
def test_schemas_find_what_is_misspelt(releases: dict[str, Release], values: str, path: str, value: Any) -> None:
    """Of Kubernetes, of KEDA and of Prometheus Operator."""
    manifests = Breakage("", path, value, values).of(releases[values]).manifests
    assert [found for one in manifests for found in schemas.problems(one, schemas.versions()[-1])]


def test_the_packaged_chart_renders_the_same(tmp_path: Path) -> None:
    """Nothing that it needs is left out of the package."""
    tools.call(tools.program("helm"), "package", str(tools.CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("*.tgz")
    values = tools.CHART / "ci" / "gpu-image-keda-values.yaml"
    assert tools.template(values, chart=package) == tools.template(values)


def test_kubectl_finds_a_wrong_type(releases: dict[str, Release]) -> None:
    """It reads pods into its own types."""
    path = "Deployment/gateway/spec/template/spec/terminationGracePeriodSeconds"
    broken = Breakage("", path, "long").of(releases["cpu-claim"])
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": broken.of("Deployment")})
    with pytest.raises(tools.Failed, match="terminationGracePeriodSeconds"):
        tools.call(tools.program("kubectl"), "set", "env", "--local", "-o", "name", "-f", "-", "A=1", text=listed)


def test_readme_is_made_of_the_values() -> None:
    """Every value is explained, and the file is what is made of them today."""
    assert readme.README.read_text() == readme.rendered()
    with pytest.raises(ValueError, match=r"a\.c is not explained"):
        list(readme.rows("a:\n  # -- B.\n  b: 1\n  c: 2\n"))


def test_every_setting_of_the_gateway_can_be_chosen(releases: dict[str, Release]) -> None:
    """By a value of its own, or under `gateway.settings`, but for those of a Triton of its own."""
    schema = json.loads((tools.CHART / "values.schema.json").read_text())
    chosen = set(schema["properties"]["gateway"]["properties"]["settings"]["properties"])
    assert chosen | MADE | OWN_TRITON == set(Settings.model_fields)
    given = {name for one in releases.values() for name in environment(one.component("gateway").containers[0])}
    names = {name.removeprefix("WMSERVE_").lower() for name in given}
    assert MADE < names <= MADE | chosen


def test_the_gateway_takes_the_settings_that_it_is_given(
    releases: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers stay numbers on their way through Helm: 536870912, not 5.36870912e+08."""
    for release in releases.values():
        for name, value in environment(release.component("gateway").containers[0]).items():
            monkeypatch.setenv(name, value)
        assert Settings().http_port == 8080
        assert Settings().drain_timeout_s == 30
    assert (Settings().latents_capacity_bytes, Settings().max_in_flight) == (512 << 20, 2_000_000)


def test_scalers_go_by_metrics_that_there_are(releases: dict[str, Release]) -> None:
    """KEDA by those of the gateway, HorizontalPodAutoscalers by those that prometheus-adapter makes of them."""
    rules = yaml.safe_load((tools.ROOT / "deploy" / "prometheus" / "adapter.yml").read_text())["rules"]["custom"]
    asked = set(operation.queries(releases["cpu-storage-hpa"].of("HorizontalPodAutoscaler")))
    assert asked == {rule["name"]["as"] for rule in rules}
    used = [rule["seriesQuery"] for rule in rules]
    used += operation.queries(releases["gpu-image-keda"].of("ScaledObject"))
    said = Metrics().text()[0].decode()
    for name in {name for query in used for name in re.findall(r"\bwmserve_\w+", query)}:
        assert re.search(rf"^{name}\b", said, re.MULTILINE), name


def test_alerts_and_dashboard_are_installed_as_they_are(releases: dict[str, Release]) -> None:
    """Templates of alerts are Prometheus', not Helm's."""
    files = tools.CHART / "files"
    (rule,) = releases["gpu-image-keda"].of("PrometheusRule")
    assert rule["spec"] == yaml.safe_load((files / "alerts.yml").read_text())
    (dashboard,) = releases["gpu-image-keda"].of("ConfigMap")
    assert json.loads(dashboard["data"]["wmserve.json"]) == json.loads((files / "dashboard.json").read_text())


def test_the_last_line_says_what_was_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """And what failed of it, programs that said no included."""

    def refused() -> Iterator[str]:
        raise tools.Failed("no")
        yield ""

    asked: list[proofs.Check] = [("a", "1", list), ("a", "2", lambda: ["wrong"]), ("b", "3", refused)]
    assert proofs.main(asked) == 1
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1]) == {
        "ok": False,
        "checked": {"a": 2, "b": 1},
        "failed": {"a": 1, "b": 1},
    }
    assert said.err.splitlines() == ["a: 2: wrong", "b: 3: no"]
    assert proofs.main(asked[:1]) == 0


def test_hadolint_has_nothing_to_say(tmp_path: Path) -> None:
    """Of the container files; of a bad one it has."""
    for file in proofs.CONTAINERS.glob("*.Containerfile"):
        assert tools.call(tools.HADOLINT, str(file)) == ""
    bad = tmp_path / "Containerfile"
    bad.write_text("FROM debian:latest\nRUN apt-get install curl\n")
    with pytest.raises(tools.Failed, match="DL3007"):
        tools.call(tools.HADOLINT, str(bad))
