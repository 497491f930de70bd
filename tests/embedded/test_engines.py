"""The engine runner inside Triton: what it answers, and what it refuses to load."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException
from wmserve_server import embedded
from wmserve_server.planner import Limits, Problem, Settings, Shape, begin
from wmserve_server.planner.goal import GoalCost
from wmserve_server.planner.slices import Task, pack_progress, pack_task, unpack_progress

from tests.embedded.conftest import REPOSITORY, WORLD, Arrays, frames, infer, running, states

WIDTHS = {"context": (1, 32), "goal": (32,), "actions": (7, 25, 2)}
LIMITS = Limits(np.full(2, -1, np.float32), np.full(2, 1, np.float32))


def random_inputs(batch: int, *names: str) -> Arrays:
    """Random float tensors."""
    random = np.random.default_rng(1)
    return {name: random.uniform(-1, 1, (batch, *WIDTHS[name])).astype(np.float32) for name in names}


def searches(batch: int, horizon: int = 5) -> Arrays:
    """Searches of `batch` seeds towards random goals, interrupted after each iteration."""
    goal, rows = GoalCost(1.0, 1.0), []
    for seed in range(batch):
        settings = Settings("icem", candidate_count=30, iterations=3, elite_count=5, initial_std=0.5)
        problem = Problem(Shape(5 * horizon, 2, 5), LIMITS, settings, seed)
        rows.append(pack_task(Task(problem, goal, begin(problem), slice_s=0.0, left_s=None)))
    return {**random_inputs(batch, "context", "goal"), "search": np.stack(rows)}


def inputs_of(verb: str, batch: int) -> Arrays:
    """Inputs of a verb."""
    if verb == "encode":
        return {"observations": frames(batch)}
    return random_inputs(batch, "context", "actions") if verb == "rollout" else searches(batch)


def comparable(name: str, row: NDArray[Any]) -> bytes:
    """What must be equal of a row of an output: all of it, but the time that a search took."""
    return (
        pack_progress(replace(unpack_progress(row), cost_s=0, search_s=0, ended_s=())).tobytes()
        if name == "search"
        else row.tobytes()
    )


def rows(arrays: Arrays, start: int, stop: int) -> Arrays:
    return {name: array[start:stop] for name, array in arrays.items()}


@pytest.mark.parametrize("verb", ["encode", "rollout", "plan"])
async def test_an_answer_does_not_depend_on_what_it_was_batched_with(verb: str, client: InferenceServerClient) -> None:
    """Bit for bit: alone, in batches of the caller's, and in those that Triton makes of calls at the same moment.

    Alone a row is run on two threads, in a batch on one.
    """
    model, inputs = f"{WORLD}_{verb}", inputs_of(verb, 9)
    alone = [await infer(client, model, rows(inputs, row, row + 1)) for row in range(9)]
    if verb == "encode":  # whether frames may share a run is tried on the first batches of a size; then it is done
        for _ in range(2):
            await infer(client, model, {"observations": frames(9, seed=7)})
    together = await infer(client, model, inputs)
    parts = await infer(client, model, rows(inputs, 3, 6))
    at_once = await asyncio.gather(*(infer(client, model, rows(inputs, row, row + 1)) for row in range(9)))
    for row in range(9):
        for name, array in alone[row].items():
            wanted = comparable(name, array)
            assert comparable(name, together[name][row : row + 1]) == wanted
            assert comparable(name, at_once[row][name]) == wanted
            if 3 <= row < 6:
                assert comparable(name, parts[name][row - 3 : row - 2]) == wanted


def scores(verb: str, known: Arrays) -> Arrays:
    """What the score engines beside an engine say of its inputs and answers."""
    said: Arrays = {}
    for file in (REPOSITORY / f"{WORLD}_{verb}" / "1").glob("*_????????.onnx"):
        session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
        (name,) = (output.name for output in session.get_outputs())
        (said[name],) = session.run([name], {given.name: known[given.name] for given in session.get_inputs()})
    return said


@pytest.mark.parametrize("verb", ["encode", "rollout"])
async def test_answers_are_those_of_the_engine_file(verb: str, client: InferenceServerClient) -> None:
    """Nothing is lost between Triton and the runtime: not a value, not a shape."""
    inputs = inputs_of(verb, 1)
    file = REPOSITORY / f"{WORLD}_{verb}" / "1" / ("engine.onnx" if verb == "encode" else "horizon_5.onnx")
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    wanted = dict(zip(names, session.run(names, inputs), strict=True))
    wanted |= scores(verb, inputs | wanted)
    wanted.pop("features", None)  # they stay in the server
    answer = await infer(client, f"{WORLD}_{verb}", inputs)
    assert set(answer) == set(wanted)
    for name, array in wanted.items():
        assert answer[name].shape == array.shape
        np.testing.assert_allclose(answer[name], array, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("horizon", [3, 5])
async def test_a_search_is_the_one_that_the_engine_file_gives(horizon: int, client: InferenceServerClient) -> None:
    """The cost of the first iteration's best candidate is the engine's, also where the engine is unrolled further."""
    inputs = searches(1, horizon)
    progress = unpack_progress((await infer(client, f"{WORLD}_plan", inputs))["search"])
    best = progress.state.best
    assert best is not None
    assert progress.state.iterations == 1
    assert progress.cost_s > 0
    session = onnxruntime.InferenceSession((REPOSITORY / f"{WORLD}_plan" / "1" / "horizon_5.onnx").read_bytes())
    actions = np.pad(best.actions, ((0, 25 - 5 * horizon), (0, 0)), mode="edge")[None, None]
    (distance,) = session.run(
        ["goal_distance"], {"context": inputs["context"], "goal": inputs["goal"], "actions": actions}
    )
    distance = distance[0, 0, :horizon]
    np.testing.assert_allclose(best.details["goal_distance"], distance, rtol=1e-4, atol=1e-4)
    assert best.cost == pytest.approx(float(distance[-1] + distance.mean()), rel=1e-4)
    assert best.details["readouts"].shape == (horizon, 3)


async def test_a_horizon_without_an_engine_is_an_error_of_that_request_alone(client: InferenceServerClient) -> None:
    """Its message says which horizons there are; a good request beside it is answered."""
    good, bad = inputs_of("rollout", 1), inputs_of("rollout", 1)
    bad["actions"] = bad["actions"][:, :, :-1]
    answers = await asyncio.gather(
        *(infer(client, f"{WORLD}_rollout", inputs) for inputs in (bad, good)), return_exceptions=True
    )
    assert isinstance(answers[0], InferenceServerException)
    assert "24 environment steps" in str(answers[0])
    assert isinstance(answers[1], dict)


async def test_engines_that_are_not_the_contracts_are_not_loaded(tmp_path: Path) -> None:
    """One byte of one engine changed: its model says why it is not served; the others are."""
    shutil.copytree(REPOSITORY, tmp_path, dirs_exist_ok=True)
    changed = tmp_path / f"{WORLD}_plan" / "1" / "horizon_5.onnx"
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    async with running(tmp_path) as triton, InferenceServerClient(triton.grpc_address) as client:
        async with asyncio.timeout(20):
            while (found := await states(client))[f"{WORLD}_plan"][0] == "LOADING":  # it is tried again and again
                await asyncio.sleep(0.1)
    state, reason = found[f"{WORLD}_plan"]
    assert state == "UNAVAILABLE"
    assert "engine horizon_5.onnx is not the one in the contract" in reason
    assert found[f"{WORLD}_encode"][0] == found[f"{WORLD}_rollout"][0] == "READY"


async def test_a_world_that_is_exported_later_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton watches its repository; nobody has to restart it."""
    monkeypatch.setattr(embedded, "REPOSITORY_POLL_S", 1)
    async with running(tmp_path) as triton, InferenceServerClient(triton.grpc_address) as client:
        assert await states(client) == {}
        for model in REPOSITORY.glob(f"{WORLD}_*"):
            shutil.copytree(model, tmp_path / f".{model.name}")
            (tmp_path / f".{model.name}").rename(tmp_path / model.name)
        async with asyncio.timeout(20):
            while len([state for state, _ in (await states(client)).values() if state == "READY"]) < 3:
                await asyncio.sleep(0.2)
