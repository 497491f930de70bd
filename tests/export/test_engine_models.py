"""Engines that are Triton models of their own, as TensorRT's are.

There is no GPU here, so what is tried are ONNX files in the same shape of repository, and how Triton reads TensorRT's.
"""

import asyncio
import dataclasses
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton
from tritonclient.grpc.aio import InferenceServerClient
from wmserve.world import Target, World
from wmserve_export import contract, families, repository, triton_models
from wmserve_export.__main__ import main
from wmserve_export.engines import Engine, engines
from wmserve_server.discovery import Discovery, discover
from wmserve_server.planner.slices import unpack_progress

from loadtest.serving import running as serving
from tests.embedded.conftest import Arrays, infer, running, states
from tests.export import linear_world
from tests.export.conftest import Exported
from tests.export.test_export import digests_of, read_world
from tests.export.test_mixed import GoalCost, task

GPU = Target(name="tensorrt", builder="tensorrt 10.9.0.34", compute_capabilities=("8.9",))
MODELS = {
    *("linear_encode", "linear_rollout", "linear_plan"),
    *("linear_encode_engine", "linear_rollout_horizon_2", "linear_plan_horizon_2", "linear_plan_horizon_2_judge"),
}


def staged_files(exported: Exported, world: World, staged: Path) -> dict[Engine, Path]:
    """Copies of an exported world's engine files, by the names of another target if it has one."""
    files = {}
    for engine in engines(world.verbs, world.engine_horizons):
        files[engine] = staged / "copied" / engine.key_of(world.target)
        files[engine].parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(
            repository.version_folder(exported.repository, world.engine(engine.verb)) / engine.file, files[engine]
        )
    return files


def write_apart(exported: Exported, place: Path, target: Target | None = None) -> World:
    """The linear world with engines that are models; for a GPU, its files only bear the names of engines."""
    world = read_world(exported.repository, "linear")
    config = families.load(exported.checkpoint).config
    if target is not None:
        world = world.model_copy(update={"target": target})
    with repository.staging(place) as staged:
        files = staged_files(exported, world, staged)
        digests = {engine.key_of(world.target): contract.file_digest(file) for engine, file in files.items()}
        world = world.model_copy(update={"digests": world.digests.model_copy(update={"engines": digests})})
        models = triton_models.models(world, config, files, max_batch=8, apart=True)
        repository.put(staged, place, models, world, {})
    return world


@pytest.fixture(scope="module")
def apart(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in the shape of TensorRT's, with ONNX files."""
    place = tmp_path_factory.mktemp("apart") / "repository"
    write_apart(exported, place)
    return place


def inputs(verb: str, batch: int) -> Arrays:
    """Random calls."""
    random = np.random.default_rng(5)
    if verb == "encode":
        return {"observations": random.integers(0, 256, (batch, 2, 9, 7, 3), np.uint8)}
    if verb == "plan":
        tasks = [task(2 - seed % 2, GoalCost(1.0, 0.5), 20, seed) for seed in range(batch)]
        width = max(one["search"].shape[1] for one in tasks)
        for one in tasks:
            one["search"] = np.pad(one["search"], ((0, 0), (0, width - one["search"].shape[1])))
        return {name: np.concatenate([one[name] for one in tasks]) for name in tasks[0]}
    shapes = {"context": (2, 3), "actions": (7, 4, 2), "action_history": (2, 2)}
    return {name: random.standard_normal((batch, *shape), dtype=np.float32) for name, shape in shapes.items()}


def comparable(answer: Arrays) -> dict[str, object]:
    """All of an answer but the time that searches took."""
    found: dict[str, object] = {}
    for name, array in answer.items():
        found[name] = array.tobytes()
        if name == "search":
            found[name] = [str(dataclasses.asdict(unpack_progress(row).state)) for row in array]
    return found


async def test_answers_are_those_of_a_plain_repository(exported: Exported, apart: Path) -> None:
    """Bit for bit, one call and several at once, and a gateway serves such a world."""
    plain = exported.repository
    async with (
        running(plain) as one,
        running(apart) as other,
        InferenceServerClient(one.grpc_address) as ours,
        InferenceServerClient(other.grpc_address) as theirs,
    ):
        assert {name for name, (state, _) in (await states(theirs)).items() if state == "READY"} == MODELS
        served = (await discover(theirs, Discovery({}, ()))).served["linear", 1]
        assert served.world == read_world(plain, "linear")
        assert served.max_batch == {"encode": 8, "rollout": 8, "plan": 64}
        for verb in ("encode", "rollout", "plan"):
            for batch in (1, 4):
                given = inputs(verb, batch)
                wanted = comparable(await infer(ours, f"linear_{verb}", given))
                assert comparable(await infer(theirs, f"linear_{verb}", given)) == wanted, verb
                at_once = await asyncio.gather(*(infer(theirs, f"linear_{verb}", given) for _ in range(3)))
                assert all(comparable(answer) == wanted for answer in at_once), verb


async def test_an_engine_that_is_not_the_contracts_is_refused(apart: Path, tmp_path: Path) -> None:
    """By the verb's model too, where Triton itself would load whatever lies there."""
    shutil.copytree(apart, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "linear_rollout_horizon_2" / "1" / "horizon_2.onnx"
    file.write_bytes(file.read_bytes() + b"\0")
    async with running(tmp_path) as started, InferenceServerClient(started.grpc_address) as client:
        found = Discovery({}, ())
        async with asyncio.timeout(20):
            while found.refusals.keys() != {"linear_rollout", "linear_rollout_horizon_2"}:
                found = await discover(client, found)
        assert not found.served
        (problem,) = found.problems
        assert "no ready engine for rollout: engine horizon_2.onnx is not the one in the contract" in problem


async def test_triton_reads_tensorrts_models_and_lacks_the_backend_alone(exported: Exported, tmp_path: Path) -> None:
    """Its parser and its checks take each configuration, and not one with a mistake."""
    write_apart(exported, tmp_path, GPU)
    good = text_format.Parse((tmp_path / "linear_encode_engine" / "config.pbtxt").read_text(), triton.ModelConfig())
    assert good.backend == "tensorrt"
    assert good.instance_group[0].kind == triton.ModelInstanceGroup.KIND_GPU
    assert good.default_model_filename == "engine.plan"
    assert (tmp_path / "linear_encode_engine" / "1" / "engine.plan").is_file()
    bad = tmp_path / "mistaken"
    shutil.copytree(tmp_path / "linear_encode_engine", bad)
    good.name, good.input[0].dims[0] = "mistaken", -2
    (bad / "config.pbtxt").write_text(text_format.MessageToString(good))
    reasons: dict[str, str] = {}
    async with running(tmp_path) as started, InferenceServerClient(started.grpc_address) as client:
        async with asyncio.timeout(30):
            while len(reasons) < len(MODELS):
                reasons |= {name: reason for name, (_, reason) in (await states(client)).items() if reason}
    for name in MODELS:
        lacking = "unable to find backend library for backend 'tensorrt'"
        no_gpu = "needs an NVIDIA GPU of compute capability 8.9, this machine has none"
        assert (no_gpu if name.removeprefix("linear_") in ("encode", "rollout", "plan") else lacking) in reasons[name]
    assert "mistaken" not in reasons  # not even tried


def test_a_world_for_a_gpu_is_a_problem_and_others_are_served(exported: Exported, tmp_path: Path) -> None:
    """A real TensorRT-RTX engine in a real server without a GPU: readiness says what it needs."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx is not installed")
    place, checkpoint = tmp_path / "repository", linear_world.save(tmp_path / "checkpoint")
    shutil.copytree(exported.repository, place)
    arguments = [str(checkpoint), "--repository", str(place), "--horizons", "2", "--rank-problems", "5", "--quiet"]
    assert main([*arguments, "--name", "graphics", "--target", "tensorrt-rtx", "--compute-capability", "8.9"]) == 0
    world = read_world(place, "graphics")
    assert world.target.builder.startswith("tensorrt-rtx 1.")
    assert world.digests.engines == digests_of(place, "graphics")
    expected = (
        "world graphics has no ready engine for encode, rollout, plan: needs an NVIDIA GPU of compute capability 8.9"
    )
    with serving(tmp_path / "log", model_repository=str(place)) as server:
        deadline = time.monotonic() + 30
        while "needs" not in server.get("/readyz")[1] and time.monotonic() < deadline:  # it is being tried
            time.sleep(0.1)
        assert server.get("/readyz") == (200, f"ok; {expected}, this machine has none")
        status, worlds = server.get("/v1/worlds")
        assert status == 200
        assert [one["name"] for one in json.loads(worlds)["worlds"]] == ["linear"]


def test_another_target_takes_the_place_of_the_first(exported: Exported, tmp_path: Path) -> None:
    """No engine of it is left for Triton to load."""
    write_apart(exported, tmp_path)
    assert {folder.name for folder in tmp_path.iterdir()} == MODELS
    world = read_world(exported.repository, "linear")
    config = families.load(exported.checkpoint).config
    with repository.staging(tmp_path) as staged:
        files, alone = staged_files(exported, world, staged), repository.Placing(replace=True)
        repository.write(staged, tmp_path, world, config, files, {}, placing=alone)
    assert {folder.name for folder in tmp_path.iterdir()} == {"linear_encode", "linear_rollout", "linear_plan"}
