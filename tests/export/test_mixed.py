"""Plans of mixed precision: what is written, what the gates hold it to, and that plans are as good as in float32."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tritonclient.grpc.aio import InferenceServerClient
from wmserve_export import families, gates, scoring
from wmserve_export.__main__ import main
from wmserve_export.coarse import coarse_engine
from wmserve_export.engines import Engine
from wmserve_export.examples import NO_EXAMPLES
from wmserve_export.external_data import ExternalData
from wmserve_export.repository import REPORT_FILE
from wmserve_server.planner import Cost, Limits, Problem, Settings, Shape, State, begin, coarse_to_fine
from wmserve_server.planner.goal import GoalCost, ReadoutGoal
from wmserve_server.planner.rescoring import rescored
from wmserve_server.planner.slices import Task, pack_task, unpack_progress

from loadtest import lewm_checkpoint
from tests.embedded.conftest import Arrays, infer, running
from tests.export.conftest import Exported
from tests.export.test_export import digests_of, read_world

PLAN = Engine("plan", 2)
HEIGHT = ReadoutGoal((0,), np.array([0.7], np.float32), np.array([1.0], np.float32))


def export(checkpoint: Path, repository: Path, name: str) -> Exported:
    """Export in mixed precision."""
    arguments = [str(checkpoint), "--repository", str(repository), "--horizons", "2", "--quiet"]
    assert main([*arguments, "--name", name, "--precision", "mixed"]) == 0
    return Exported(checkpoint, repository, json.loads((repository / f"{name}_encode" / REPORT_FILE).read_text()))


@pytest.fixture(scope="module")
def linear(exported: Exported) -> Exported:
    """The linear world, beside its float32 self: one repository has both."""
    return export(exported.checkpoint, exported.repository, "mixed")


@pytest.fixture(scope="module")
def lewm(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small LeWM."""
    folder = tmp_path_factory.mktemp("lewm_mixed")
    checkpoint = lewm_checkpoint.save(lewm_checkpoint.small(), folder / "checkpoint")
    return export(checkpoint, folder / "repository", "mixed")


@pytest.fixture(params=["linear", "lewm"])
def world(request: pytest.FixtureRequest) -> Exported:
    """Either: the one's weights have an axis for its members, which integers want otherwise."""
    found: Exported = request.getfixturevalue(request.param)
    return found


def plan_files(world: Exported) -> dict[Engine, Path]:
    """The plan engine and its coarse one."""
    folder = world.repository / "mixed_plan" / "1"
    return {engine: folder / engine.file for engine in (PLAN, PLAN.beside("coarse"))}


def test_the_contract_says_so_and_has_the_coarse_engines_digest(world: Exported) -> None:
    """Callers can read it; nothing but plan has a coarse engine."""
    contract = read_world(world.repository, "mixed")
    assert contract.plan_precision == "mixed"
    assert contract.digests.engines == digests_of(world.repository, "mixed")
    assert [key for key in contract.digests.engines if "coarse" in key] == ["plan/horizon_2_coarse.onnx"]


def test_the_float32_engines_are_those_of_a_float32_export(exported: Exported, linear: Exported) -> None:
    """Mixed precision adds a file, and changes none."""
    plain, mixed = (read_world(linear.repository, name).digests.engines for name in ("linear", "mixed"))
    assert read_world(exported.repository, "linear").plan_precision == "float32"
    assert plain.items() < mixed.items()


def test_the_report_has_both_precisions(world: Exported) -> None:
    """The float32 engine keeps parity; the coarse one has an error, without a limit; ranks are of both."""
    parity, rank = world.report["parity"], world.report["rank"]
    assert not any("coarse" in key for key in parity["errors"])
    assert parity["coarse_errors"]["plan/horizon_2_coarse.onnx:goal_distance"] > parity["limit"]
    assert (rank["precision"], world.report["rank_float32"]["precision"]) == ("mixed", "float32")
    assert rank["overlap_p5"] >= 28
    assert rank["first_action_p95"] <= 0.01
    assert world.report["rescored"] == 40


def test_making_it_twice_gives_the_same_bytes(world: Exported, tmp_path: Path) -> None:
    """Of the bytes of the plan engine, without a trace of where."""
    files = plan_files(world)
    again = coarse_engine(files[PLAN], tmp_path / "coarse.onnx", ExternalData(tmp_path)).read_bytes()
    assert again == files[PLAN.beside("coarse")].read_bytes()
    assert b".py" not in again


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
def test_rounding_never_drowns_what_candidates_differ_by(lewm: Exported, spread: float) -> None:
    """However narrow a population: products are rounded in steps of its own size."""
    family, files = families.load(lewm.checkpoint), plan_files(lewm)
    inputs = NO_EXAMPLES.inputs(family.config, PLAN, {"B": 1, "S": 300}, torch.Generator().manual_seed(3))
    actions = inputs["actions"]
    inputs = {**inputs, "actions": actions[:, :1] + spread * (actions - actions[:, :1])}
    coarse, exact = (scoring.scorer(files[engine], family.config.goal_metric)(inputs) for engine in reversed(files))
    errors = coarse - exact
    assert errors.std() < 0.3 * exact.std()


def test_rank_refuses_too_few_scored_again(lewm: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 of 30 elites in float32 are not enough; it is the mixed precision that is refused."""
    monkeypatch.setattr(scoring, "RESCORED", 20)
    found = gates.rank(families.load(lewm.checkpoint), plan_files(lewm), NO_EXAMPLES, range(200))
    found["float32"].check()
    with pytest.raises(gates.GateError, match=r"^rank: .* in mixed precision"):
        found["mixed"].check()


def test_parity_refuses_a_coarse_engine_that_answers_nan() -> None:
    """It has no limit, but it is to answer."""
    with pytest.raises(gates.GateError, match=r"^parity: plan/horizon_2_coarse.onnx:goal_distance"):
        gates.Parity({}, {"plan/horizon_2_coarse.onnx:goal_distance": float("nan")}).check()


def test_the_gate_scores_as_the_server_does(world: Exported) -> None:
    """The rule stands in both, since neither may import the other; what a server scores in float32 besides, is more."""
    assert rescored(scoring.CANDIDATES, scoring.ELITES) == scoring.RESCORED
    family, files = families.load(world.checkpoint), plan_files(world)
    metric = family.config.goal_metric
    inputs = NO_EXAMPLES.inputs(family.config, PLAN, {"B": 1, "S": 300}, torch.Generator().manual_seed(2))

    def cost(scorer: scoring.Scorer) -> Cost:
        return lambda actions: (scorer({**inputs, "actions": torch.from_numpy(actions)[None]}), {})

    coarse, exact = (scoring.scorer(files[engine], metric) for engine in (PLAN.beside("coarse"), PLAN))
    ours = scoring.mixed(coarse, exact)(inputs)
    theirs, _ = coarse_to_fine(cost(coarse), cost(exact), scoring.ELITES)(inputs["actions"][0].numpy())
    best = coarse(inputs).argsort(kind="stable")[: scoring.RESCORED]
    np.testing.assert_allclose(ours[best], theirs[best], rtol=1e-5)
    np.testing.assert_array_equal(gates.elites(ours), gates.elites(theirs))


def task(horizon: int, goal: GoalCost, elite_count: int, seed: int) -> Arrays:
    """A whole search over the linear world, from a random context to a random goal."""
    random = np.random.default_rng(seed)
    limits = Limits(np.full(2, -1, np.float32), np.full(2, 2, np.float32))
    settings = Settings("cem", candidate_count=200, iterations=6, elite_count=elite_count, initial_std=0.5)
    problem = Problem(Shape(2 * horizon, 2), limits, settings, seed)
    search = pack_task(Task(problem, goal, begin(problem), slice_s=60.0, left_s=None))
    tensors = {"context": (2, 3), "goal": (3,), "action_history": (2, 2)}
    start = {name: random.standard_normal((1, *shape), dtype=np.float32) for name, shape in tensors.items()}
    return {**start, "search": search[None]}


async def searched(client: InferenceServerClient, model: str, inputs: Arrays) -> list[State]:
    """How far each search of a batch came."""
    return [unpack_progress(row).state for row in (await infer(client, model, inputs))["search"]]


async def test_plans_are_as_good_as_those_of_float32(linear: Exported) -> None:
    """Through Triton: for shorter horizons than the engine's, for readout goals, for few elites and for many.

    A batch of two is run on one thread each, a single search on two: to the bit the same.
    """
    async with running(linear.repository) as triton, InferenceServerClient(triton.grpc_address) as client:
        for seed, (horizon, readouts, elite_count) in enumerate(
            [(2, None, 20), (1, None, 20), (2, HEIGHT, 20), (1, HEIGHT, 3), (2, None, 90)]
        ):
            inputs = task(horizon, GoalCost(1.0, 0.5, readouts), elite_count, seed)
            (wanted,) = await searched(client, "linear_plan", inputs)
            (found,) = await searched(client, "mixed_plan", inputs)
            twice = {name: np.concatenate([array, array]) for name, array in inputs.items()}
            beside = await searched(client, "mixed_plan", twice)
            assert wanted.best is not None
            assert found.best is not None
            # An elite that is another takes a search another way, to a plan that is as good: costs differ by about 1.
            np.testing.assert_allclose(found.cost_per_iteration, wanted.cost_per_iteration, rtol=0.02, atol=0.01)
            for state in beside:
                assert state.best is not None
                assert state.cost_per_iteration == found.cost_per_iteration
                assert state.best.actions.tobytes() == found.best.actions.tobytes()
