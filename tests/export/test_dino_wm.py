"""DINO-WM: stable-worldmodel's own model, read from everything that it is published in."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from wmserve_export.__main__ import main
from wmserve_export.families import FamilyError, published
from wmserve_export.families.dino_wm.adopting import adopt

from loadtest.families import dino_wm
from loadtest.families import dino_wm_formats as formats
from loadtest.families.dino_wm import adopted, compared, drawn, facts
from tests.export.test_export import read_config, read_world

SIDE, PATCH = 3, 7
SIZE = SIDE * PATCH
SENSING = {"proprio": 4, "action": 6}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return dino_wm.small(SENSING)


@pytest.mark.parametrize("context_length", [1, 3])
@pytest.mark.parametrize(
    "encoders", [SENSING, {"action": 6, "proprio": 4}, {"action": 6}], ids=["usual", "action first", "no proprio"]
)
def test_a_world_is_stable_worldmodels(encoders: dict[str, int], context_length: int, tmp_path: Path) -> None:
    """Latents, rollouts while the window grows, is full and slides, and costs; whatever is concatenated in any order.

    Its backbone's positions are interpolated from 5 x 5 to 3 x 3.
    """
    model = dino_wm.small(encoders)
    world = adopted(dino_wm.save(model, tmp_path), facts("proprio" in encoders, context_length))
    figures = compared(model, world, drawn(batch=2, frames=context_length, candidates=3, steps=5, size=SIZE))
    assert max(figures[name] for name in ("encode_error", "rollout_error", "cost_error")) < 1e-5
    assert world.config.goal_metric.needs_proprioception == ("proprio" in encoders)
    planner = world.config.planner
    assert (planner.algorithm, planner.candidate_count, planner.iterations, planner.horizon) == ("cem", 300, 30, 5)


def test_latents_are_of_patches_and_know_nothing_of_actions(model: nn.Module, tmp_path: Path) -> None:
    """Pixels' features and embedded proprioception; features for strange frames are a mean over patches."""
    world = adopted(dino_wm.save(model, tmp_path), facts(proprioception=True))
    data = drawn(batch=2, frames=1, candidates=1, steps=1, size=30)
    with torch.inference_mode():
        latents, features = world.encode(data["frames"], data["proprioception"])
    assert world.config.latent_shape == (SIDE**2, 24 + 4)
    assert (latents.shape, features.shape) == ((2, 1, SIDE**2 * 28), (2, 1, 24))
    sensed = latents.unflatten(-1, world.config.latent_shape)[..., 24:]
    assert torch.equal(sensed, sensed[..., :1, :].expand_as(sensed))


@pytest.fixture
def own(model: nn.Module, tmp_path: Path) -> Path:
    """A checkpoint of dino_wm, converted."""
    return formats.converted(model, tmp_path)


@pytest.mark.parametrize("context_length", [1, 2])
def test_dino_wms_own_format_is_read(own: Path, model: nn.Module, context_length: int) -> None:
    """Modules that were converted: other statistics, two resizes, other positions, the same predictor.

    Held once against the authors' code (gaoyuezhou/dino_wm, with facebookresearch/dinov2): its ``VWorldModel`` and its
    objective give these latents, rollouts and costs within 1.1e-6, from its own pickle on.
    """
    with pytest.raises(FamilyError, match=r"wmserve convert model_3\.pth"):
        published.read(own.parent / "model_3.pth")
    world = adopted(own, facts(True, context_length))
    data = drawn(batch=2, frames=context_length, candidates=3, steps=5, size=30)
    figures = compared(formats.as_authors(model), world, data, formats.halved)
    assert max(figures[name] for name in ("encode_error", "rollout_error", "cost_error")) < 1e-5
    # Positions do differ: stable-worldmodel's interpolation gives other latents.
    assert compared(model, world, data, formats.halved)["encode_error"] > 1e-3


@pytest.mark.parametrize("name", ["proprio_encoder", "state_encoder"])
def test_jepa_wms_format_is_read(name: str, model: nn.Module, tmp_path: Path) -> None:
    """State dicts of its modules, under the older name, too: two frames at a time, another weight of proprioception.

    Held once against its code (facebookresearch/jepa-wms): ``VideoWM``, ``EncPredWM.unroll`` and its objective give
    the same within 7e-7, with and without proprioception.
    """
    file = formats.jepa_wms(model, tmp_path)
    content = torch.load(file, weights_only=True)
    torch.save({name if key == "proprio_encoder" else key: part for key, part in content.items()}, file)
    world = adopted(file, facts(proprioception=True))
    assert (world.config.positions, world.config.window, world.config.planner.elite_count) == (3, 2, 10)
    data = drawn(batch=2, frames=1, candidates=3, steps=5, size=30)
    figures = compared(formats.as_authors(model, window=2), world, data, formats.halved)
    assert max(figures["encode_error"], figures["rollout_error"]) < 1e-5
    generator = torch.Generator().manual_seed(2)
    path, goal = torch.randn(2, 3, 1, 4, 9, 28, generator=generator), torch.randn(2, 9, 28, generator=generator)
    wanted = formats.cost(path[:, :, 0], goal[:, None, None], width=24)
    torch.testing.assert_close(world.goal_distance(path.flatten(4), goal.flatten(1)), wanted)


def test_patches_are_told_by_masks_by_settings_or_as_published(model: nn.Module, tmp_path: Path) -> None:
    """Nine patches were never published: without the predictor's masks and settings they are asked for."""
    file = formats.jepa_wms(model, tmp_path)
    content = torch.load(file, weights_only=True)
    masks = [key for key in content["predictor"] if key.count(".") == 5 and key.endswith(".0.bias")]
    for key in masks:
        del content["predictor"][key]
    torch.save(content, file)
    (tmp_path / "config.json").write_text(json.dumps({"predictor": {"heads": 2}}))
    with pytest.raises(FamilyError, match=r"27 positions for are missing: config\.json .* num_hist"):
        adopted(file, facts(proprioception=True))
    (tmp_path / "config.json").write_text(json.dumps({"num_hist": 3, "predictor": {"heads": 2}}))
    assert adopted(file, facts(proprioception=True)).config.latent_shape == (9, 28)


def test_what_is_missing_is_asked_for_by_name(own: Path, model: nn.Module, tmp_path: Path) -> None:
    """The backbone, proprioception, the order of encoders that safetensors has lost, heads of a size of one's own."""
    for file in (own / "backbone").iterdir():
        file.unlink()
    (own / "backbone").rmdir()
    with pytest.raises(FamilyError, match=r"does not hold its DINOv2: .* folder backbone beside weights\.safetensors"):
        adopted(own, facts(proprioception=True))
    folder = dino_wm.save(model, tmp_path / "swm")
    with pytest.raises(FamilyError, match="takes 4 axes of proprioception, the facts have 0"):
        adopted(folder, facts(proprioception=False))
    action = facts(True).known_action().model_copy(update={"action_block": 1})
    with pytest.raises(FamilyError, match="takes 10 numbers a model step, the facts have 2"):
        adopted(folder, facts(True).model_copy(update={"action": action}))
    settings = json.loads((folder / "config.json").read_text())
    settings["wm"].pop("encoding")
    (folder / "config.json").write_text(json.dumps(settings))
    assert [part.name for part in adopted(folder, facts(True)).config.embeddings] == ["proprio", "action"]
    save_file(dict(model.state_dict()), folder / "weights.safetensors")
    (folder / "weights.pt").unlink()
    with pytest.raises(FamilyError, match=r"order of action, proprio is missing: .* wm\.encoding"):
        adopted(folder, facts(proprioception=True))
    (folder / "config.json").write_text(json.dumps({"wm": {"encoding": SENSING}}))
    with pytest.raises(FamilyError, match=r"heads of the predictor are missing: .* predictor\.heads"):
        adopted(folder, facts(proprioception=True))
    (folder / "config.json").write_text(json.dumps({"wm": {"encoding": SENSING}, "predictor": {"heads": 2}}))
    with pytest.raises(FamilyError, match=r"heads of the backbone are missing: .*num_attention_heads"):
        adopted(folder, facts(proprioception=True))


def test_other_models_are_refused(model: nn.Module, own: Path, tmp_path: Path) -> None:
    """Register tokens, an encoder that was trained with the rest, embeddings repeated, and another model altogether."""
    folder = dino_wm.save(model, tmp_path / "swm")
    weights = torch.load(folder / "weights.pt", weights_only=True)
    registers = {"backbone.embeddings.register_tokens": torch.zeros(1, 4, 24)}
    torch.save(weights | registers, folder / "weights.pt")
    with pytest.raises(FamilyError, match=r"has unknown backbone\.embeddings\.register_tokens"):
        adopted(folder, facts(proprioception=True))
    narrow = torch.cat([weights["predictor.pos_embedding"], weights["predictor.pos_embedding"][..., :6]], dim=-1)
    torch.save(weights | {"predictor.pos_embedding": narrow}, folder / "weights.pt")
    with pytest.raises(FamilyError, match="takes 40 numbers a patch, its encoders give 34"):
        adopted(folder, facts(proprioception=True))
    found = published.read(own)
    trained = published.Published(
        {**found.tensors, "encoder.base_model.norm.weight": torch.ones(1)}, {}, {}, found.file
    )
    with pytest.raises(FamilyError, match="an encoder of its own"):
        adopt("dino-wm", trained, facts(proprioception=True), tmp_path / "adopted")
    torch.save({"cls_token": torch.zeros(1)}, folder / "weights.pt")
    with pytest.raises(FamilyError, match=r"lacks predictor\.pos_embedding"):
        adopted(folder, facts(proprioception=True))


def test_one_command_exports_it(tmp_path: Path) -> None:
    """Through the gates; the contract says what a robot has to tell, and what a goal needs."""
    sizes = dino_wm.SMALL_PREDICTOR | {"depth": 1}
    model = dino_wm.reference(
        dino_wm.SMALL_BACKBONE | {"image_size": SIZE, "num_hidden_layers": 1}, sizes, SENSING, side=SIDE
    )
    folder = dino_wm.save(model, tmp_path / "published", sizes)
    (tmp_path / "world.json").write_text(facts(proprioception=True).model_dump_json())
    arguments = ["--family", "dino-wm", "--world", str(tmp_path / "world.json"), "--horizons", "1", "--quiet"]
    repository = tmp_path / "repository"
    assert main([str(folder), *arguments, "--repository", str(repository), "--rank-problems", "1"]) == 0
    world = read_world(repository, "dino_wm")
    assert (world.latent_shape, world.family) == ((9, 28), "dino-wm")
    assert [axis.name for axis in world.observation.proprioception] == ["x", "y", "z", "w"]
    assert world.metric.needs_proprioception
    encode = {tensor.name: list(tensor.dims) for tensor in read_config(repository, "dino_wm_encode").input}
    assert encode == {"observations": [1, -1, -1, 3], "proprioception": [1, 4]}
