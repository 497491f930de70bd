"""LeWM: the rewritten graphs are stable-worldmodel's own model, and its checkpoints are read as they are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from wmserve.world import Readout
from wmserve_client import Client, Context, InvalidRequest, PlannerOptions
from wmserve_export import families
from wmserve_export.__main__ import main
from wmserve_export.families.lewm import Lewm, LewmConfig
from wmserve_export.families.lewm.weights import LAYER, RENAMED, WEIGHTS_FILE, shapes

import loadtest.evaluation  # noqa: F401  # lets stable-worldmodel import torchvision
from loadtest import lewm_checkpoint, lewm_reference
from loadtest.serving import running
from tests.export.test_export import read_config, read_world

CANDIDATES, HORIZON = 4, 5
"""Five steps: the window grows, is full, and slides."""


def difference(ours: Tensor, reference: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == reference.shape
    return float((ours - reference).abs().max() / reference.abs().max())


def newer_name(name: str) -> str:
    """A tensor's name as transformers 5 spells it."""
    for newer, older in RENAMED.items():
        if name.startswith("encoder.encoder.layer.") and f".{older}." in name:
            name = name.replace(f".{older}.", f".{newer}.")
            break
    return name.replace("encoder.encoder.layer.", "encoder.layers.")


@pytest.mark.parametrize("config", [lewm_checkpoint.small(), lewm_checkpoint.full_size()], ids=lambda c: c.name)
def test_a_checkpoint_is_the_references_state_dict(config: LewmConfig) -> None:
    """Name by name and shape by shape; at full size 303 tensors."""
    model = lewm_reference.build(config, lewm_checkpoint.random_weights(config))
    assert shapes(config) == {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.image_size == 224:
        assert len(shapes(config)) == 303
        assert sum(parameter.numel() for parameter in model.parameters()) == 18_034_478


@pytest.mark.parametrize("size", [28, 50])
def test_encode_is_the_references(size: int) -> None:
    """Frames of the native size, and others, which are first brought to it by antialiased bilinear interpolation."""
    config = lewm_checkpoint.small(context_length=3)
    weights = lewm_checkpoint.random_weights(config)
    frames = torch.randint(0, 256, (2, 3, size, size, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    pixels = (frames / 255.0).permute(0, 1, 4, 2, 3)
    if size != config.image_size:
        shape = (config.image_size, config.image_size)
        flat = torch.nn.functional.interpolate(pixels.flatten(0, 1), shape, mode="bilinear", antialias=True)
        pixels = flat.unflatten(0, (2, 3))
    with torch.inference_mode():
        wanted = lewm_reference.encode(lewm_reference.build(config, weights), pixels)
        latents, _ = Lewm(config, weights).encode(frames)
    assert difference(latents, wanted) < 1e-5


@pytest.mark.parametrize("context_length", [1, 2, 3])
def test_rollout_and_cost_are_the_references(context_length: int) -> None:
    """For every context that fits the window; two problems at once, with actions that differ before and after now."""
    config = lewm_checkpoint.small(context_length)
    weights = lewm_checkpoint.random_weights(config)
    generator = torch.Generator().manual_seed(2)
    context = torch.randn(2, context_length, config.latent_dim, generator=generator)
    goal = torch.randn(2, config.latent_dim, generator=generator)
    steps = (context_length - 1 + HORIZON) * config.action.action_block
    actions = torch.rand(2, CANDIDATES, steps, 2, generator=generator) * 2 - 1
    past = (context_length - 1) * config.action.action_block
    actions[:, :, :past] = actions[:, :1, :past]
    model, world = lewm_reference.build(config, weights), Lewm(config, weights)
    info = lewm_reference.cached(context, goal, CANDIDATES)
    with torch.inference_mode():
        costs = model.get_cost(info, lewm_reference.scored(config, actions))
        path = world.predict(context, actions)
        distance = world.goal_distance(path, goal)
    assert path.shape == (2, CANDIDATES, 1, HORIZON, config.latent_dim)
    assert difference(path[:, :, 0], info["predicted_emb"][:, :, context_length:]) < 1e-5
    assert difference(distance[:, :, -1], costs) < 1e-5
    assert config.goal_metric.final_weight == 1
    assert config.goal_metric.path_weight == 0


def test_both_spellings_of_the_encoders_tensors_are_read(tmp_path: Path) -> None:
    """transformers 5 renamed them; nothing else differs."""
    config = lewm_checkpoint.small()
    weights = lewm_checkpoint.random_weights(config)
    newer = {newer_name(name): tensor for name, tensor in weights.items()}
    layers = [name for name in newer if LAYER.match(name)]
    assert "encoder.layers.1.attention.q_proj.weight" in layers
    assert len(layers) == 16 * config.encoder_depth
    frames = torch.full((1, 1, 28, 28, 3), 7, dtype=torch.uint8)
    lewm_checkpoint.save(config, tmp_path, newer)
    assert torch.equal(families.load(tmp_path).encode(frames)[0], Lewm(config, weights).encode(frames)[0])


@pytest.mark.parametrize(
    ("name", "tensor", "complaint"),
    [
        ("pred_proj.net.1.running_var", None, "lacks pred_proj.net.1.running_var"),
        ("predictor.extra", torch.zeros(1), "has unknown predictor.extra"),
        (
            "predictor.pos_embedding",
            torch.zeros(1, 4, 24),
            "shape that does not fit .*, predictor.pos_embedding",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    name: str, tensor: Tensor | None, complaint: str, tmp_path: Path
) -> None:
    """One missing, one too many, one of another size."""
    folder = lewm_checkpoint.save(lewm_checkpoint.small(), tmp_path)
    weights = load_file(folder / WEIGHTS_FILE) | {name: tensor}
    lewm_checkpoint.save(
        lewm_checkpoint.small(), folder, {key: value for key, value in weights.items() if value is not None}
    )
    with pytest.raises(families.FamilyError, match=complaint):
        families.load(folder)


def test_a_context_longer_than_the_window_is_refused() -> None:
    """The predictor has no positions for it."""
    with pytest.raises(ValueError, match="at most the predictor's window, 3"):
        lewm_checkpoint.small(context_length=4)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small LeWM of three context frames, through the gates."""
    folder = tmp_path_factory.mktemp("lewm")
    checkpoint = lewm_checkpoint.save(lewm_checkpoint.small(context_length=3), folder / "checkpoint")
    assert main([str(checkpoint), "--repository", str(folder / "repository"), "--horizons", "2", "--quiet"]) == 0
    return folder / "repository"


def test_engines_of_a_world_without_readouts_have_no_such_output(repository: Path) -> None:
    """Triton knows no axis of size 0. The context's length is fixed, for the unrolled graph depends on it."""
    world = read_world(repository, "lewm_small")
    assert (world.ensemble_size, world.context_length, world.readouts) == (1, 3, ())
    config = read_config(repository, "lewm_small_rollout")
    assert [output.name for output in config.output] == ["latents", "disagreement"]
    assert {tensor.name: list(tensor.dims) for tensor in config.input} == {
        "context": [3, 24],
        "actions": [-1, -1, 2],
        "action_history": [10, 2],
    }


def test_it_is_served(repository: Path, tmp_path: Path) -> None:
    """All three verbs, without readouts and with a disagreement of 0; another number of frames is refused."""
    random = np.random.default_rng(4)
    frames = random.integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)
    history = random.uniform(-1, 1, (10, 2)).astype(np.float32)
    actions = random.uniform(-1, 1, (4, 10, 2)).astype(np.float32)
    with running(tmp_path / "log", model_repository=str(repository), triton_threads="1") as server:
        server.wait_ready()
        with Client(server.grpc) as client:
            encoded = client.encode("lewm_small", frames)
            start = Context(encoded, history)
            rolled = client.rollout("lewm_small", start, actions)
            plan = client.plan("lewm_small", start, frames[0], planner=PlannerOptions(horizon=2, iterations=2))
            with pytest.raises(InvalidRequest, match="1 frames, world lewm_small starts from 3"):
                client.rollout("lewm_small", frames[0], actions)
    assert (encoded.readouts.shape, rolled.readouts.shape, plan.readouts.shape) == ((3, 0), (4, 2, 0), (2, 0))
    assert plan.actions.shape == (10, 2)
    assert not plan.disagreement.any()


def test_readouts_are_linear_in_the_latents(tmp_path: Path) -> None:
    """A probe of one's own travels beside the reference's tensors."""
    readout = Readout(name="height", unit="m", low=0.0, high=1.0, error=0.1)
    config = lewm_checkpoint.small().model_copy(update={"readouts": (readout,)})
    world = families.load(lewm_checkpoint.save(config, tmp_path))
    weights = load_file(tmp_path / WEIGHTS_FILE)
    latents = torch.randn(2, 3, config.latent_dim, generator=torch.Generator().manual_seed(3))
    wanted = latents @ weights["readout.weight"].T + weights["readout.bias"]
    torch.testing.assert_close(world.readout(latents), wanted)
