"""Engines whose weights lie beside them: written once, bound to the contract, answers those of the single-file form."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from tritonclient.grpc.aio import InferenceServerClient
from wmserve.world import World
from wmserve_export import external_data, repository
from wmserve_export.__main__ import main
from wmserve_export.calibration.__main__ import COLLAPSED, UNUSABLE
from wmserve_export.calibration.__main__ import main as calibrate
from wmserve_export.engines import Engine
from wmserve_export.external_data import DATA_FILE, ExternalData
from wmserve_export.onnx_graphs import export_engine
from wmserve_export.repository import REPORT_FILE
from wmserve_server.planner.goal import GoalCost

from tests.embedded.conftest import Arrays, infer, running, states
from tests.export import linear_world
from tests.export.linear_world import LinearConfig
from tests.export.test_calibration import save
from tests.export.test_export import digests_of
from tests.export.test_mixed import searched, task

DIM = 400


def export(checkpoint: Path, place: Path, name: str, *options: str) -> World:
    """Export with few problems and candidates: what gates say is not asked here."""
    chosen = ["--horizons", "2", "--rank-problems", "1", "--gate-candidates", "20", "--quiet", *options]
    assert main([str(checkpoint), "--repository", str(place), "--name", name, *chosen]) == 0
    return repository.read(place, name)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear world with weights of some kilobytes."""
    return linear_world.save(tmp_path_factory.mktemp("wide") / "checkpoint", LinearConfig(latent_dim=DIM))


@pytest.fixture(scope="module")
def place(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with the world twice, weights inside and outside; the limit stays low."""
    place = tmp_path_factory.mktemp("external") / "repository"
    export(checkpoint, place, "inside", "--precision", "mixed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_data, "EXTERNAL_FROM", 2000)
        export(checkpoint, place, "outside", "--precision", "mixed")
        yield place


@pytest.fixture(scope="module")
def world(place: Path) -> World:
    """The one with weights outside."""
    return repository.read(place, "outside")


def file_of(place: Path, verb: str, name: str = DATA_FILE) -> Path:
    """A file of the world with weights outside."""
    return place / f"outside_{verb}" / "1" / name


def flip(file: Path) -> None:
    """Change one bit, in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def inputs_of(verb: str) -> Arrays:
    """Random inputs of a verb."""
    random = np.random.default_rng(2)
    if verb == "encode":
        return {"observations": random.integers(0, 256, (1, 2, 9, 11, 3), np.uint8)}
    shapes = {"context": (2, DIM), "actions": (5, 4, 2), "action_history": (2, 2)}
    return {name: random.standard_normal((1, *shape), np.float32) for name, shape in shapes.items()}


def search(seed: int) -> Arrays:
    """A whole search for the linear world, of as many dimensions as this one."""
    random = np.random.default_rng(seed)
    latents = {"context": random.standard_normal((1, 2, DIM), np.float32), "goal": np.ones((1, DIM), np.float32)}
    return task(2, GoalCost(1.0, 0.5), 20, seed) | latents


def test_the_contract_has_the_digest_of_every_data_file(place: Path, world: World) -> None:
    """They are files like the others; small engines have none."""
    assert world.digests.engines == digests_of(place, "outside")
    verbs = {key.partition("/")[0] for key in world.digests.engines if key.endswith(DATA_FILE)}
    assert verbs == {"encode", "rollout", "plan"}
    assert not list(place.glob(f"inside_*/1/{DATA_FILE}"))


def test_engines_of_a_verb_share_what_is_equal(place: Path) -> None:
    """Search and judge: the readout's weights lie where the others' lie, and the file holds each once."""
    spans, weights = set(), 0
    for file in file_of(place, "plan").parent.glob("horizon_*.onnx"):
        for tensor in onnx.load(file, load_external_data=False).graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                entry = {item.key: item.value for item in tensor.external_data}
                spans.add((int(entry["offset"]), int(entry["length"])))
                weights += 1
    assert len(spans) < weights
    assert all(offset % external_data.ALIGNMENT == 0 for offset, _ in spans)
    assert file_of(place, "plan").stat().st_size == max(offset + length for offset, length in spans)
    content = file_of(place, "plan").read_bytes()
    assert len({content[offset : offset + length] for offset, length in spans}) == len(spans)


def test_the_report_says_what_gates_were_tried_on(place: Path) -> None:
    """And how large files are."""
    report = json.loads((place / "outside_encode" / REPORT_FILE).read_text())
    assert report["bytes"][f"plan/{DATA_FILE}"] == file_of(place, "plan").stat().st_size
    assert [sizes["S"] for sizes in report["parity"]["sizes"]] == [1, 2, 20, 5]
    assert (report["rank"]["candidates"], report["rank"]["limits"]["elites"]) == (20, 2)


def test_exporting_twice_gives_the_same_bytes(checkpoint: Path, place: Path, tmp_path: Path) -> None:
    """Of the graph and of its weights."""
    export_engine(linear_world.load(checkpoint), Engine("rollout", 2), ExternalData(tmp_path))
    again = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert again == {file.name: file.read_bytes() for file in file_of(place, "rollout").parent.iterdir()}


async def test_answers_are_those_of_the_single_files(place: Path) -> None:
    """Through Triton, alone or beside others to the bit the same; those of the single files up to rounding."""
    async with running(place) as triton, InferenceServerClient(triton.grpc_address) as client:
        for verb in ("encode", "rollout"):
            inputs = inputs_of(verb)
            wanted, found = [await infer(client, f"{name}_{verb}", inputs) for name in ("inside", "outside")]
            beside = await asyncio.gather(*(infer(client, f"outside_{verb}", inputs) for _ in range(4)))
            for name, array in wanted.items():
                np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4)
                assert {one[name].tobytes() for one in beside} == {found[name].tobytes()}
        many = inputs_of("rollout")  # of which a large engine takes some at a time
        many["actions"] = np.random.default_rng(3).standard_normal((1, 37, 4, 2), np.float32)
        wanted, found = [await infer(client, f"{name}_rollout", many) for name in ("inside", "outside")]
        for name, array in wanted.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4)
        for seed in range(2):
            (wanted,) = await searched(client, "inside_plan", search(seed))
            (found,) = await searched(client, "outside_plan", search(seed))
            np.testing.assert_allclose(found.cost_per_iteration, wanted.cost_per_iteration, rtol=1e-4)


@pytest.mark.parametrize("damage", ["changed", "missing"])
async def test_a_data_file_that_is_not_the_contracts_is_not_loaded(place: Path, tmp_path: Path, damage: str) -> None:
    """One bit of it changed: its model says why it is not served; the others are."""
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    if damage == "changed":
        flip(file_of(tmp_path, "plan"))
    else:
        file_of(tmp_path, "plan").unlink()
    async with running(tmp_path) as triton, InferenceServerClient(triton.grpc_address) as client:
        async with asyncio.timeout(20):
            while (found := await states(client))["outside_plan"][0] == "LOADING":  # it is tried again and again
                await asyncio.sleep(0.1)
    state, reason = found.pop("outside_plan")
    assert state == "UNAVAILABLE"
    said = {"changed": "is not the one in the contract", "missing": "of the contract is missing"}
    assert f"{DATA_FILE} {said[damage]}" in reason
    assert {state for state, _ in found.values()} == {"READY"}


def test_a_world_with_weights_outside_is_calibrated(place: Path, tmp_path: Path) -> None:
    """By the same command; not with other weights."""
    shutil.copytree(place, tmp_path / "repository")
    arguments = ["outside", "--repository", str(tmp_path / "repository"), "--quiet", "--replace"]
    arguments += ["--trajectories", str(save(tmp_path / "logged", 300))]
    assert calibrate(arguments) == COLLAPSED  # three colours in 400 dimensions: it is in place, and says so
    found = repository.read(tmp_path / "repository", "outside")
    assert found.calibration is not None
    assert found.calibration.holds_for(found.digests)
    flip(file_of(tmp_path / "repository", "rollout"))
    assert calibrate(arguments) == UNUSABLE
