"""V-JEPA 2-AC: the rewritten graphs are the authors' model, by way of a plain reading of it.

The plain reading (`plain_vjepa2_ac.py`) was held against the authors' own code (facebookresearch/vjepa2, c2963a4; with
scipy 1.17) once, on what is drawn here: encode 6e-7, three steps from one and from two frames 9e-7, relative to the
largest value; poses alike to the bit, and its rotations within 2.4e-14 of scipy's over 30 000 of them away from gimbal
lock. The authors' code and this project's differ by 2e-6.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from wmserve.world import Digests
from wmserve_export import families
from wmserve_export.contract import ExportOptions, build
from wmserve_export.engines import Engine
from wmserve_export.examples import EXAMPLES_FILE, Examples
from wmserve_export.external_data import ExternalData
from wmserve_export.families import FamilyError, published
from wmserve_export.families.vjepa2_ac import VJepa2Ac
from wmserve_export.families.vjepa2_ac.adopting import adopt
from wmserve_export.families.vjepa2_ac.pose import atan2, integrate
from wmserve_export.onnx_graphs import export_engine, traced
from wmserve_export.runtime import Runner

from loadtest.families import vjepa2_ac_plain as plain
from loadtest.families import vjepa2_ac_random as drawn
from tests.conftest import ROOT

CLIP = ROOT.parent / "shared" / "data" / "franka_example_traj.npz"
CANDIDATES, HORIZON = 6, 3
SETTINGS = {"img_size": 48, "encoder": {"num_heads": 2}, "predictor": {"num_heads": 3}}
Floats = NDArray[np.float32]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def difference(ours: Tensor, reference: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == reference.shape
    return float((ours - reference).abs().max() / reference.abs().max())


# Poses


def poses(angles: Floats, seed: int = 0) -> Floats:
    """Poses `[M, 7]` with these angles `[M, 3]`."""
    random = np.random.default_rng(seed)
    parts = (random.uniform(-1, 1, (len(angles), 3)), angles, random.uniform(0, 1, (len(angles), 1)))
    return np.concatenate(parts, axis=1).astype(np.float32)


def actions(angles: Floats, seed: int = 1) -> Floats:
    """Actions `[M, 7]` that turn by these angles."""
    random = np.random.default_rng(seed)
    moves, grips = random.uniform(-0.05, 0.05, (len(angles), 3)), random.uniform(-0.75, 0.75, (len(angles), 1))
    return np.concatenate([moves, angles, grips], axis=1).astype(np.float32)


def turns(count: int, low: tuple[float, float, float], high: tuple[float, float, float]) -> Floats:
    """Random roll, pitch, yaw."""
    return np.random.default_rng(2).uniform(low, high, (count, 3))


def near_lock(count: int, widest: float) -> Floats:
    """Angles whose pitch is next to +-pi/2, by 1e-9 and more, evenly in orders of magnitude."""
    angles = turns(count, (-np.pi, -1, -np.pi), (np.pi, 1, np.pi))
    missing = 10 ** np.random.default_rng(3).uniform(-9, widest, count)
    angles[:, 1] = np.sign(angles[:, 1]) * (np.pi / 2 - missing)
    return angles


ANY = turns(2000, (-np.pi, -np.pi / 2, -np.pi), (np.pi, np.pi / 2, np.pi))
DOWN = turns(2000, (np.pi - 0.3, -0.3, -np.pi), (np.pi + 0.3, 0.3, np.pi))
"""As a robot's gripper is, most of the time: roll is at pi, where its sign changes."""
SMALL = np.random.default_rng(4).uniform(-0.1, 0.1, (2000, 3))
CASES = {
    "any pose, no turn": (ANY, np.zeros_like(ANY)),
    "any pose, any turn": (ANY, ANY[::-1]),
    "any pose, small turn": (ANY, SMALL),
    "downwards, no turn": (DOWN, np.zeros_like(DOWN)),
    "downwards, small turn": (DOWN, SMALL),
    "near lock, no turn": (near_lock(2000, -1), np.zeros_like(ANY)),
    "near lock, small turn": (near_lock(2000, -1), SMALL),
    "near lock, tiny turn": (near_lock(2000, -1), SMALL / 1000),
    "near lock, any turn": (near_lock(2000, -1), ANY),
}
EXACT = ("no turn", "downwards", "any pose, small turn", "near lock, small turn")
"""What is within 1e-6 wherever cos(pitch) is over 0.02, and at any pitch where nothing turns."""


@pytest.mark.parametrize("case", CASES)
def test_poses_are_integrated_as_one_by_one_in_float64(case: str) -> None:
    """Rotations always within 1e-6; angles too, but where pitch comes close to +-pi/2 and something turns."""
    before, change = poses(CASES[case][0]), actions(CASES[case][1])
    ours = integrate(torch.from_numpy(before), torch.from_numpy(change)).numpy().astype(np.float64)
    wanted = np.stack([plain.new_pose(*pair) for pair in zip(before, change, strict=True)])
    np.testing.assert_allclose(ours[:, [0, 1, 2, 6]], wanted[:, [0, 1, 2, 6]], atol=1e-7)
    np.testing.assert_allclose(ours[:, 4], wanted[:, 4], atol=1e-6)
    rotations = [np.stack([plain.matrix(pose[3:6]) for pose in both]) for both in (ours, wanted)]
    np.testing.assert_allclose(*rotations, atol=1e-6)
    assert (np.abs(ours[:, 3:6]) < np.pi).all()
    error = np.abs((ours - wanted)[:, [3, 5]])
    error, cosine = np.minimum(error, 2 * np.pi - error).max(axis=1), np.cos(wanted[:, 4])
    assert (error * cosine).max() < 1e-6
    if any(part in case for part in EXACT):
        assert error[(cosine > 0.02) | ("no turn" in case)].max() < 1e-6


def test_in_gimbal_lock_roll_has_all_of_the_rotation() -> None:
    """As in scipy, where pitch is the float32 next to +-pi/2: also with an action's yaw on top."""
    lock = np.float32(np.pi / 2)
    angles = np.array([[0.3, lock, 0.7], [0.3, -lock, 0.7], [-3, lock, 3], [2, -lock, 2]])
    for yaw in (0.0, 0.4):
        before, change = poses(angles), actions(np.array([[0, 0, yaw]] * 4))
        ours = integrate(torch.from_numpy(before), torch.from_numpy(change)).numpy()[:, 3:6]
        np.testing.assert_allclose(ours[:, 2], 0, atol=0)
        wanted = np.stack([plain.new_pose(*pair)[3:6] for pair in zip(before, change, strict=True)])
        np.testing.assert_allclose(ours, wanted, atol=1e-6)


def test_an_angle_of_pi_is_written_as_the_reference_writes_it() -> None:
    """The float32 next to pi is over it, and becomes the one next to -pi; the network reads the difference."""
    before = poses(np.array([[np.pi, 0, 0], [-np.pi, 0, 0], [np.nextafter(np.float32(np.pi), np.float32(0)), 0, 0]]))
    after = integrate(torch.from_numpy(before), torch.zeros(3, 7)).numpy()
    wanted = np.stack([plain.new_pose(pose, np.zeros(7, np.float32)) for pose in before])
    np.testing.assert_allclose(after, wanted, atol=1e-6)


def test_atan2_is_the_real_one() -> None:
    """In all quadrants, on axes and at the origin, and for tiny and huge numbers."""
    values = np.array([0, 1e-20, 1e-3, 0.7, 1, 1e10], np.float32)
    grid = np.concatenate([-values[1:], values])
    y, x = (part.ravel() for part in np.meshgrid(grid, grid))
    np.testing.assert_allclose(atan2(torch.from_numpy(y), torch.from_numpy(x)), np.arctan2(y, x), atol=3e-7)


class Integrates(nn.Module):
    """Poses alone, as a graph."""

    def forward(self, pose: Tensor, action: Tensor) -> Tensor:
        return integrate(pose, action)


def test_the_exported_poses_are_the_same() -> None:
    """ONNX Runtime's sines and arc tangents, too, over all cases at once."""
    before = np.concatenate([poses(angles) for angles, _ in CASES.values()])
    change = np.concatenate([actions(angles) for _, angles in CASES.values()])
    inputs = {"pose": torch.from_numpy(before), "action": torch.from_numpy(change)}
    run = exported(Integrates(), inputs, ["next"])
    # Of float32's angles next to pi one may be the other's negative.
    error = np.abs(run(inputs)["next"] - integrate(**inputs).numpy())
    cosine = np.cos(integrate(**inputs).numpy()[:, 4:5])
    assert (np.minimum(error, 2 * np.pi - error) * np.maximum(cosine, 1e-7)).max() < 1e-6


# The network


def problem(context_length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frames `[T + 1, 48, 48, 3]`, of which the last is the goal, poses `[T, 7]`, actions `[S, T - 1 + H, 7]`."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (context_length + 1, 48, 48, 3), generator=generator, dtype=torch.uint8)
    start = torch.rand(context_length, 7, generator=generator)
    bound = torch.tensor([0.1, 0.1, 0.1, 0.4, 0.4, 0.4, 1.5])
    moves = (torch.rand(CANDIDATES, context_length - 1 + HORIZON, 7, generator=generator) - 0.5) * bound
    moves[:, : context_length - 1] = moves[:1, : context_length - 1]
    return frames, start, moves


class Scored(nn.Module):
    """Rollout and distances in one graph."""

    def __init__(self, family: VJepa2Ac) -> None:
        super().__init__()
        self.family = family

    def forward(self, context: Tensor, moves: Tensor, goal: Tensor) -> tuple[Tensor, ...]:
        path = self.family.predict(context, moves)
        return path, self.family.goal_distance(path, goal), self.family.readout(path)


def scored(family: VJepa2Ac, inputs: dict[str, Tensor], in_onnx: bool) -> dict[str, Tensor]:
    """What that graph answers, in torch or exported."""
    outputs, graph = ["path", "distance", "pose"], Scored(family).eval()
    if not in_onnx:
        with torch.inference_mode():
            return dict(zip(outputs, graph(**inputs), strict=True))
    return {name: torch.from_numpy(array) for name, array in exported(graph, inputs, outputs)(inputs).items()}


def exported(graph: nn.Module, inputs: dict[str, Tensor], outputs: list[str]) -> Runner:
    """A graph in ONNX Runtime, of sizes that are not free: tracing takes its time over those."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        file.write_bytes(traced(graph, inputs, outputs, {name: {} for name in inputs}, "graph"))
        return Runner(file)


@pytest.mark.parametrize(("context_length", "in_onnx"), [(1, False), (2, True)])
def test_it_is_the_reference(context_length: int, in_onnx: bool) -> None:
    """Latents, three steps, poses, distances, and the order that a search would put candidates into."""
    config = drawn.small(context_length)
    weights = drawn.random_weights(config)
    family, size = VJepa2Ac(config, weights), config.patches * config.latent_dim
    frames, start, moves = problem(context_length)
    encoded = [plain.layer_normed(plain.encoded(frame, weights, config.heads)) for frame in frames]
    with torch.inference_mode():
        latents, _ = family.encode(frames[None], torch.cat([start, start[:1]])[None])
    latents = latents.clone()
    assert difference(latents[0, :, :size], torch.stack(encoded).flatten(1)) < 1e-4
    found = scored(family, {"context": latents[:, :-1], "moves": moves[None], "goal": latents[:, -1]}, in_onnx)
    paths = [plain.rolled_out(encoded[:-1], list(start), each, weights, config.predictor_heads) for each in moves]
    patches = torch.stack([torch.stack([frame for frame, _ in path]) for path in paths])
    reached = torch.stack([torch.stack([pose for _, pose in path]) for path in paths])
    assert difference(found["path"][0, :, 0, :, :size], patches.flatten(2)) < 1e-4
    torch.testing.assert_close(found["pose"][0, :, 0], reached, rtol=0, atol=1e-6)
    assert not found["path"][0, :, 0, :, size + 7 :].any()
    distance = (patches - encoded[-1]).abs().mean(dim=(2, 3))
    assert difference(found["distance"][0], distance) < 1e-4
    assert found["distance"][0, :, -1].argsort().tolist() == distance[:, -1].argsort().tolist()


def test_frames_of_other_sizes_are_reduced() -> None:
    """Antialiased, as the other families do it; features are what the latents are the norm of."""
    config = drawn.small()
    family = VJepa2Ac(config, drawn.random_weights(config))
    frames = torch.randint(0, 256, (2, 1, 71, 60, 3), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    pixels = frames[:, 0].permute(0, 3, 1, 2).float()
    small = nn.functional.interpolate(pixels, (48, 48), mode="bilinear", antialias=True)
    with torch.inference_mode():
        latents, features = family.encode(frames, torch.ones(2, 1, 7))
        encoded = family.encoder(small)
    wanted = plain.layer_normed(encoded).flatten(1)
    assert difference(latents[:, 0, : wanted.shape[1]], wanted) < 1e-4
    assert difference(features[:, 0], encoded.mean(dim=1)) < 1e-4


def test_statistics_of_actions_and_poses_are_heeded() -> None:
    """What training has subtracted and divided by, the engine does; the pose is integrated as it is."""
    config = drawn.small()
    weights = drawn.random_weights(config)
    scored = {
        name: tuple(axis.model_copy(update={"mean": 0.1, "std": 0.5}) for axis in axes)
        for name, axes in (("proprioception", config.proprioception), ("action", config.action.axes))
    }
    action = config.action.model_copy(update={"axes": scored["action"]})
    other = config.model_copy(update={"action": action, "proprioception": scored["proprioception"]})
    latents, moves = torch.randn(1, 1, 10 * 32), torch.rand(1, 2, 1, 7)
    moved = dict(weights)
    for name in ("predictor.action_encoder", "predictor.state_encoder"):
        weight = weights[f"{name}.weight"]
        moved |= {f"{name}.weight": weight / 0.5, f"{name}.bias": weights[f"{name}.bias"] - weight.sum(dim=1) * 0.2}
    with torch.inference_mode():
        paths = [VJepa2Ac(*pair).predict(latents, moves) for pair in ((other, weights), (config, moved))]
    torch.testing.assert_close(*paths, rtol=1e-4, atol=1e-4)


# Checkpoints and worlds


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    """What the checkpoint does not say: names, and how far the robot reaches."""
    content = {"name": "robot", "description": "A robot with random weights.", "proprioception": drawn.reach()}
    file = tmp_path / "world.json"
    file.write_text(json.dumps(content))
    return file


def checkpoint(folder: Path, content: dict[str, object], file: str = "vjepa2-ac-vitg.pt") -> Path:
    """A published checkpoint."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    torch.save(content, folder / file)
    return folder


@pytest.mark.parametrize("form", ["the authors'", "safetensors", "two files", "without poses"])
def test_every_form_is_read_as_the_same_world(form: str, facts: Path, tmp_path: Path) -> None:
    """The authors' file, its tensors alone, and jepa-wms', whose encoder is in another file."""
    config = drawn.small(name="robot").model_copy(update={"knows_pose": form != "without poses"})
    weights = drawn.random_weights(config)
    folder = checkpoint(tmp_path / "published", drawn.published(weights))
    if form != "the authors'":
        (folder / "vjepa2-ac-vitg.pt").unlink()
    if form == "safetensors":
        save_file(weights, folder / "model.safetensors")
    elif form != "the authors'":
        drawn.save_apart(weights, folder, SETTINGS)
    adopt("vjepa2-ac", published.read(folder), published.read_facts(facts), tmp_path / "adopted")
    family = families.load(tmp_path / "adopted")
    assert isinstance(family, VJepa2Ac)
    assert family.config == config.model_copy(update={"description": family.config.description})
    latents, moves = torch.randn(1, 1, 10 * 32), torch.rand(1, 2, 1, 7)
    with torch.inference_mode():
        torch.testing.assert_close(family.predict(latents, moves), VJepa2Ac(config, weights).predict(latents, moves))


def test_what_is_missing_is_asked_for_by_name(facts: Path, tmp_path: Path) -> None:
    """Heads of an unknown width, how far the robot reaches, a part of the model, and actions of another robot."""
    weights = drawn.random_weights(drawn.small())
    folder = checkpoint(tmp_path / "published", drawn.published(weights))

    def adopted() -> None:
        adopt("vjepa2-ac", published.read(folder), published.read_facts(facts), tmp_path / "adopted")

    known = json.loads(facts.read_text())
    facts.write_text(json.dumps(known | {"proprioception": known["proprioception"][:1]}))
    with pytest.raises(FamilyError, match="bounds of y, z are missing"):
        adopted()
    axis = known["proprioception"][0]
    facts.write_text(json.dumps(known | {"proprioception": [*known["proprioception"], axis | {"name": "elbow"}]}))
    with pytest.raises(FamilyError, match="elbow is not of a pose"):
        adopted()
    facts.write_text(json.dumps(known | {"action": {"axes": [axis], "action_block": 1}}))
    with pytest.raises(FamilyError, match="action: the seven axes of the model are delta_x"):
        adopted()
    facts.write_text(json.dumps(known))
    (folder / "config.json").write_text(json.dumps({"img_size": 48, "encoder": {"num_heads": 2}}))
    with pytest.raises(FamilyError, match=r"heads of the predictor, 48 wide, .* predictor\.num_heads"):
        adopted()
    (folder / "config.json").write_text(json.dumps({"files": {"encoder": "elsewhere.pt"}}))
    with pytest.raises(FamilyError, match=r"not there: elsewhere\.pt"):
        adopted()
    (folder / "config.json").unlink()
    torch.save({"predictor": drawn.published(weights)["predictor"], "epoch": 1}, folder / "vjepa2-ac-vitg.pt")
    with pytest.raises(FamilyError, match=r'has no encoder; .*"files"'):
        adopted()


def test_the_contract_is_what_the_authors_code_says() -> None:
    """Their planner and bounds, a pose that is measured and can be read, a goal that is a picture."""
    config = drawn.small()
    family = VJepa2Ac(config, drawn.random_weights(config))
    world = build(family, ExportOptions(), Digests(checkpoint="sha256:" + "0" * 64, engines={}))
    planner = world.search
    assert (planner.algorithm, planner.candidate_count, planner.iterations, planner.elite_count) == ("cem", 400, 10, 10)
    assert (planner.horizon, planner.momentum, planner.receding_horizon) == (2, 0.15, 1)
    assert [(axis.low, axis.high) for axis in world.action.axes] == 3 * [(-0.05, 0.05)] + 3 * [(0, 0)] + [(-0.75, 0.75)]
    assert (world.latent_shape, world.observation.tubelet_size) == ((10, 32), 1)
    assert world.observation.proprioception == drawn.PROPRIOCEPTION
    assert [(readout.name, readout.unit) for readout in world.readouts][2:4] == [("z", "m"), ("roll", "rad")]
    assert not world.metric.needs_proprioception


def test_examples_bring_their_poses(tmp_path: Path) -> None:
    """What the gates start from is frames with the proprioception beside them."""
    config = drawn.small()
    frames, states = np.full((2, 30, 30, 3), 7, np.uint8), poses(SMALL[:2])
    np.savez(tmp_path / EXAMPLES_FILE, observations=frames, proprioception=states)
    family = VJepa2Ac(config, drawn.random_weights(config))
    latents = Examples.load(tmp_path, family).latents
    assert latents is not None
    np.testing.assert_array_equal(family.readout(latents), states)


@pytest.mark.skipif(not CLIP.is_file(), reason="the robot clip of the authors' repository is not beside this one")
def test_a_robots_own_clip(tmp_path: Path) -> None:
    """Two frames of a real arm: the action between its poses leads from one to the other, and energies are finite."""
    with np.load(CLIP) as clip:
        frames, states = torch.from_numpy(clip["observations"][0]), clip["states"][0]
    config = drawn.small()
    family = VJepa2Ac(config, drawn.random_weights(config))
    with torch.inference_mode():
        latents, _ = family.encode(frames[:, None], torch.from_numpy(states)[:, None])
        between = torch.from_numpy(plain.action_between(*states).astype(np.float32))
        reached = family.readout(family.predict(latents[:1], between[None, None, None]))
    np.testing.assert_array_equal(family.readout(latents)[:, 0], states)
    np.testing.assert_allclose(reached[0, 0, 0, 0], states[1], atol=1e-6)
    plan = Runner(export_engine(family, Engine("plan", 1), ExternalData(tmp_path)))
    grid = torch.cartesian_prod(*3 * (torch.linspace(-0.05, 0.05, 5),))
    moves = nn.functional.pad(grid, (0, 4))[None, :, None]
    energy = plan({"context": latents[:1], "goal": latents[1], "actions": moves})["goal_distance"]
    assert energy.shape == (1, 125, 1)
    assert np.isfinite(energy).all()
    assert energy.std() > 0
