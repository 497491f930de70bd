"""The GPU benchmark, as far as it runs without a GPU: its checks find what is wrong, its search is the planner's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from wmserve_export.families.lewm.config import LewmConfig
from wmserve_server.planner.algorithms import Cem, Distribution, ICem

from loadtest import lewm_checkpoint
from loadtest.families import vjepa2_ac_random
from loadtest.gpu import checks, floor, vjepa2_ac_plan
from loadtest.gpu.engines import Subject, Variant, eager
from loadtest.gpu.precision import BF16, FLOAT32
from loadtest.gpu.search import Cost, Search, Workload
from loadtest.gpu.session import DRY, Session
from loadtest.serving import ROOT

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A small world."""
    config = lewm_checkpoint.small()
    return Subject(config, lewm_checkpoint.random_weights(config), CPU)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A dry run that has not begun."""
    return Session(DRY, budget_s=100.0, peak=floor.ASSUMED, folder=tmp_path)


def test_a_dry_run_checks_times_and_reports(tmp_path: Path) -> None:
    """Every engine that needs no CUDA passes its checks and has times; what was skipped is named with its reason."""
    command = [sys.executable, "-W", "error", "-m", "loadtest.gpu.lewm_plan", "--dry-run", "--out", str(tmp_path)]
    folders = ("", "proto", "server", "export")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in folders)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    summary = json.loads(ended.stdout.splitlines()[-1])
    assert summary["wrong"] == {}
    found = json.loads((tmp_path / "gpu_lewm_plan.json").read_text())
    assert {"reference, eager, fp32, TF32 off", "wavefront, compiled (default), captured, bf16"} <= found[
        "checks"
    ].keys()
    assert {(row["workload"], row["batch"]) for row in found["rows"]} == {
        (name, batch) for name in ("iCEM 24 x 2", "CEM 24 x 2") for batch in (1, 2)
    }
    assert {row["variant"] for row in found["rows"]} == found["checks"].keys()
    assert {"CUDA graphs", "TensorRT, captured, fp16"} <= found["skipped"].keys()
    assert "## 2 plans at a time" in (tmp_path / "gpu_lewm_plan.md").read_text()


def test_a_dry_run_of_the_robots_world_checks_times_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """V-JEPA 2-AC: encodes, and plans in bf16 and FP8 as in float32, keys and values of the first step kept."""
    arguments = ["--dry-run", "--out", str(tmp_path), "--horizons", "2", "--only", "compiled (default)", "TensorRT"]
    assert vjepa2_ac_plan.main(arguments) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["skipped"] == ["TensorRT, bf16, horizon 2"]
    assert summary["plan_s"]["horizon 2"].keys() == {"bf16", "fp8"}
    found = json.loads((tmp_path / "gpu_vjepa2_ac_plan.json").read_text())
    assert found["encode_ms"].keys() == {"eager, fp32, TF32 on", "eager, bf16", "compiled, bf16"}
    errors = {name.rpartition(", ")[2]: check["error"] for name, check in found["plan"]["horizon 2"]["checks"].items()}
    assert 0 < errors["bf16"] < errors["fp8"] < 0.05


def test_operations_of_the_robots_world_are_those_of_the_paper() -> None:
    """At the published size about 1.3 PFLOP for a search one step ahead; a step more costs as much again, no more."""
    counts = [vjepa2_ac_plan.counted(vjepa2_ac_random.full_size(), horizon) for horizon in (1, 2)]
    assert counts[0] * 800 * 10 == pytest.approx(1.3e15, rel=0.05)
    assert 2 < counts[1] / counts[0] < 2.1


def broken(subject: Subject) -> Cost:
    """An engine with one weight a little off."""
    graph = subject.graph(FLOAT32, wavefront=True)
    graph.family.predictor.project.second.weight[0, 0] += 0.05
    return lambda context, goal, candidates: graph(context, candidates, goal)[0][:, :, -1]


def fickle(subject: Subject) -> Cost:
    """An engine that scores the same candidates otherwise each time."""
    right = eager(BF16)(subject)
    noise = torch.Generator().manual_seed(0)

    def cost(context: Tensor, goal: Tensor, candidates: Tensor) -> Tensor:
        costs = right(context, goal, candidates)
        return costs * (1 + 0.05 * torch.rand(costs.shape, generator=noise))

    return cost


def test_an_engine_with_a_wrong_weight_is_found(session: Session) -> None:
    """Its costs are not the reference's, so it is named as wrong and not timed."""
    ready = session.prepare([Variant("right", FLOAT32, eager(FLOAT32)), Variant("broken", FLOAT32, broken)])
    assert [engine.variant.name for engine in ready] == ["right"]
    assert "differ from the reference's" in session.report.wrong["broken, fp32, TF32 off"]
    assert session.report.summary()["wrong"]


def test_a_captured_plan_that_is_another_is_found(session: Session) -> None:
    """The same noise must lead to the same plan."""
    assert session.prepare([Variant("fickle", BF16, fickle, captured=True)]) == []
    assert "captured plan differs" in session.report.wrong["fickle, bf16"]


def test_an_engine_that_fails_does_not_stop_the_others(session: Session) -> None:
    """It is skipped with what it said."""

    def build(_: Subject) -> Cost:
        raise RuntimeError("out of something")

    assert len(session.prepare([Variant("failing", FLOAT32, build), Variant("right", FLOAT32, eager(FLOAT32))])) == 1
    assert session.report.skipped["failing, fp32, TF32 off"] == "RuntimeError: out of something"


def test_costs_that_are_no_numbers_are_wrong() -> None:
    """A comparison with NaN is always false: it must not pass."""
    wanted = torch.rand(2, 8)
    with pytest.raises(checks.Wrong):
        checks.check_costs(wanted * float("nan"), wanted, BF16, 3)


@pytest.mark.parametrize("config", [lewm_checkpoint.small(), lewm_checkpoint.full_size()], ids=lambda c: c.name)
@pytest.mark.parametrize("wavefront", [False, True])
def test_the_floor_counts_what_torch_counts(config: LewmConfig, wavefront: bool) -> None:
    """All but the products of attention, which are written out and which torch does not count."""
    built = Subject(config, lewm_checkpoint.random_weights(config), CPU)
    problem, actions = checks.problem(config, 2, CPU), checks.candidates(config, 2, 3, CPU)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        eager(FLOAT32, wavefront)(built)(problem.context, problem.goal, actions)
    counted = floor.macs(config, 5) - floor.attention_macs(config, 5)
    assert counter.get_total_flops() == 2 * counted * 2 * 3
    assert floor.attention_macs(config, 5) < counted / 100


class Scripted:
    """Stands in for the planner's generator: gives the noise that a search on the device has drawn."""

    def __init__(self, noise: np.ndarray) -> None:
        self.noise = noise

    def standard_normal(self, shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
        """White noise of one population."""
        return self.noise.reshape(shape).astype(dtype)


@pytest.mark.parametrize("algorithm", ["cem", "icem"])
def test_the_search_is_the_planners(algorithm: str, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same noise each population is the one that the gateway's planner proposes."""
    load = Workload(algorithm, candidates=20, iterations=4, batch=1, elites=5)
    weights = torch.linspace(-1, 1, 50).reshape(25, 2)
    seen: list[Tensor] = []

    def cost(_context: Tensor, _goal: Tensor, candidates: Tensor) -> Tensor:
        seen.append(candidates.clone())
        return (candidates - weights).square().sum(dim=(2, 3))

    search = Search(load, subject.config.action, cost, CPU)
    torch.manual_seed(3)
    noise = [own[0].numpy() for own in search.noise()]
    torch.manual_seed(3)
    plan = search(checks.problem(subject.config, 1, CPU))
    around = Distribution(np.zeros((25, 2), np.float32), np.ones((25, 2), np.float32))
    planner = (ICem if load.smooth else Cem)(load.candidates, load.elites)
    monkeypatch.setattr("wmserve_server.planner.algorithms.coloured", lambda rng, shape: rng.standard_normal(shape))
    best = np.inf
    for step, (own, ours) in enumerate(zip(noise, seen, strict=True)):
        proposed = np.clip(planner.propose(around, Scripted(own), step), -1, 1)  # type: ignore[arg-type]
        np.testing.assert_allclose(ours[0], proposed, atol=1e-5)
        costs = ((proposed - weights.numpy()) ** 2).sum(axis=(1, 2))
        around, best = planner.learn(around, proposed, costs), min(best, costs.min())
    assert float(plan.cost) == pytest.approx(best, rel=1e-5)


def test_icems_noise_is_the_planners(subject: Subject) -> None:
    """Unit variance at every step, and smooth: neighbours in time are alike."""
    noise = next(Search(Workload("icem", 4000, 1, 1, 30), subject.config.action, eager(FLOAT32)(subject), CPU).noise())
    np.testing.assert_allclose(noise.std(dim=(0, 1)), np.ones((25, 2)), atol=0.06)
    neighbours = (noise[:, :, 1:] * noise[:, :, :-1]).mean()
    assert neighbours > 0.7


@pytest.mark.parametrize("horizon", [1, 2, 3, 4, 7])
def test_the_wavefront_is_the_rewritten_predictor(horizon: int, subject: Subject) -> None:
    """At every step, while the window grows and once it slides."""
    problem, actions = checks.problem(subject.config, 2, CPU), checks.candidates(subject.config, 2, 6, CPU, horizon)
    with torch.no_grad():
        wanted = subject.graph(FLOAT32)(problem.context, actions, problem.goal)[0]
        found = subject.graph(FLOAT32, wavefront=True)(problem.context, actions, problem.goal)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
