"""DINO-WM with random weights: stable-worldmodel's own ``PreJEPA``, its checkpoints, and both beside each other."""

import copy
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from wmserve.world import ActionSpec, Axis
from wmserve_export.families.dino_wm import DinoWm
from wmserve_export.families.published import Facts

from loadtest.families import adopting
from loadtest.families.comparing import normalised, relative_error
from loadtest.families.random_weights import randomised

SMALL_BACKBONE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "mlp_ratio": 2, "patch_size": 7}
SMALL_PREDICTOR = {"depth": 2, "heads": 2, "dim_head": 8, "mlp_dim": 40}
PREDICTOR = {"depth": 6, "heads": 16, "dim_head": 64, "mlp_dim": 2048}
FRAMES = 3
ACTION = ActionSpec(
    axes=tuple(Axis(name=f"move_{axis}", unit="1", low=-1.0, high=1.0, mean=0.1, std=0.5) for axis in ("x", "y")),
    action_block=5,
)
PROPRIOCEPTION = tuple(Axis(name=name, unit="px", low=0.0, high=512.0, mean=230.0, std=90.0) for name in "xyzw")


def small(encoders: Mapping[str, int], side: int = 3) -> nn.Module:
    """A reference model of `side x side` patches, small enough for tests; widths of its encoders by name, in order."""
    return reference(SMALL_BACKBONE | {"image_size": 35}, SMALL_PREDICTOR, encoders, side)


def full_size() -> nn.Module:
    """The published size: DINOv2 ViT-S/14, 196 patches, proprioception and actions 10 wide."""
    backbone = {"hidden_size": 384, "num_attention_heads": 6, "patch_size": 14, "image_size": 518}
    return reference(backbone, PREDICTOR, {"proprio": 10, "action": 10}, side=14)


def reference(
    backbone: Mapping[str, Any], predictor: Mapping[str, Any], encoders: Mapping[str, int], side: int
) -> nn.Module:
    """stable-worldmodel's model with random weights, in eval mode."""
    from stable_worldmodel.wm.prejepa import PreJEPA
    from stable_worldmodel.wm.prejepa.module import CausalPredictor, Embedder
    from transformers import Dinov2Config, Dinov2Model

    inputs = {"action": ACTION.action_block * len(ACTION.axes), "proprio": len(PROPRIOCEPTION)}
    model = PreJEPA(
        encoder=Dinov2Model(Dinov2Config(**backbone)),
        predictor=CausalPredictor(
            num_patches=side**2, num_frames=FRAMES, dim=backbone["hidden_size"] + sum(encoders.values()), **predictor
        ),
        extra_encoders=nn.ModuleDict(
            {name: Embedder(in_chans=inputs[name], emb_dim=width) for name, width in encoders.items()}
        ),
        history_size=FRAMES,
    )
    return randomised(model)


def settings(model: nn.Module, predictor: Mapping[str, Any] = SMALL_PREDICTOR) -> dict[str, Any]:
    """What its training writes as ``config.json``, as far as it is read."""
    encoders = {name: encoder.emb_dim for name, encoder in model.extra_encoders.items()}
    heads = model.backbone.config.num_attention_heads
    return {
        "backbone": {"name": "facebook/dinov2-small", "config": {"num_attention_heads": heads}},
        "wm": {"history_size": FRAMES, "num_preds": 1, "encoding": encoders},
        "predictor": dict(predictor),
    }


def save(model: nn.Module, folder: Path, predictor: Mapping[str, Any] = SMALL_PREDICTOR) -> Path:
    """Write a checkpoint as stable-worldmodel does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings(model, predictor)))
    torch.save(model.state_dict(), folder / "weights.pt")
    return folder


def facts(proprioception: bool, context_length: int = 1) -> Facts:
    """What such a checkpoint does not say."""
    return Facts(
        name="dino_wm",
        description="A DINO-WM with random weights, for tests and measurements.",
        action=ACTION,
        proprioception=PROPRIOCEPTION if proprioception else (),
        context_length=context_length,
    )


def adopted(checkpoint: Path, known: Facts) -> DinoWm:
    """What this project makes of a checkpoint."""
    world = adopting.adopted("dino-wm", checkpoint, known)
    assert isinstance(world, DinoWm)
    return world


def z_scored(values: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """Values `[..., axes]` in environment units as training normalises them."""
    mean, std = (torch.tensor([getattr(axis, name) for axis in axes]) for name in ("mean", "std"))
    return (values - mean) / std


def asked(
    frames: Tensor,
    goal: Tensor,
    proprioception: Tensor,
    goal_proprioception: Tensor,
    actions: Tensor,
    pixels: Callable[[Tensor], Tensor] = normalised,
) -> tuple[dict[str, Tensor], Tensor]:
    """What the reference's solver gives it.

    Of frames `[B, T, h, w, 3]`, a goal's `[B, h, w, 3]`, proprioception `[B, T, Q]` and `[B, Q]`, and actions
    `[B, S, (T - 1) x action_block + N, A]`; ``pixels`` is how training prepares frames.
    """
    blocks = z_scored(actions, ACTION.axes).reshape(*actions.shape[:2], -1, 2 * ACTION.action_block)
    info = {
        "pixels": pixels(frames),
        "goal": pixels(goal).unsqueeze(1),
        "proprio": z_scored(proprioception, PROPRIOCEPTION),
        "goal_proprio": z_scored(goal_proprioception, PROPRIOCEPTION).unsqueeze(1),
        "action": blocks[:, 0, : frames.shape[1]],
    }
    return {
        name: value.unsqueeze(1).expand(-1, actions.shape[1], *value.shape[1:]) for name, value in info.items()
    }, blocks


def drawn(batch: int, frames: int, candidates: int, steps: int, size: int) -> dict[str, Tensor]:
    """Random frames, proprioception and actions for :func:`asked`."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"frames": (batch, frames, size, size, 3), "goal": (batch, size, size, 3)}
    pixels = {
        name: torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for name, shape in shapes.items()
    }
    past = (frames - 1) * ACTION.action_block
    actions = torch.rand(batch, candidates, past + steps * ACTION.action_block, 2, generator=generator) * 2 - 1
    actions[:, :, :past] = actions[:, :1, :past]
    states = torch.rand(batch, frames + 1, len(PROPRIOCEPTION), generator=generator) * 512
    return {**pixels, "proprioception": states[:, :-1], "goal_proprioception": states[:, -1], "actions": actions}


def compared(
    model: nn.Module, world: DinoWm, data: Mapping[str, Tensor], pixels: Callable[[Tensor], Tensor] = normalised
) -> dict[str, float]:
    """Largest differences of latents, predicted latents and costs, relative to the largest value; and seconds."""
    known, sensing = data["frames"].shape[1], bool(world.config.proprioception)
    columns = latent_columns(model)
    info, blocks = asked(**data, pixels=pixels)
    observed = [(data["frames"], data["proprioception"]), (data["goal"][:, None], data["goal_proprioception"][:, None])]
    with torch.inference_mode():
        started = time.perf_counter()
        costs = copy.copy(model).get_cost(info, blocks)  # a model keeps what it was asked first
        theirs = time.perf_counter() - started
        (latents, _), (goal, _) = (world.encode(*(given if sensing else given[:1])) for given in observed)
        path = world.predict(latents, data["actions"])
        distance = world.goal_distance(path, goal[:, 0])
        ours = time.perf_counter() - started - theirs
    predicted = info["predicted_embedding"][..., columns]
    return {
        "encode_error": relative_error(latents, predicted[:, 0, :known].flatten(2)),
        "rollout_error": relative_error(path[:, :, 0], predicted[:, :, known:].flatten(3)),
        "cost_error": relative_error(distance[:, :, -1], costs),
        "plan_s": ours,
        "reference_plan_s": theirs,
    }


def answered(
    model: nn.Module, verb: str, given: Mapping[str, Tensor], pixels: Callable[[Tensor], Tensor] = normalised
) -> dict[str, Tensor]:
    """What the reference makes of an engine's inputs: its latents are those of what it has not seen."""
    if verb == "encode":
        info = {"pixels": pixels(given["observations"])}
        if "proprioception" in given:
            info["proprio"] = z_scored(given["proprioception"], PROPRIOCEPTION)
        sensed = [name for name in model.extra_encoders if name != "action"]
        return {"latents": model.encode(info, emb_keys=sensed)["emb"].flatten(2)}
    context, count = given["context"], given["actions"].shape[1]
    latents = {"emb": context, "goal_emb": given.get("goal", context[:, -1])[:, None]}
    blind = copy.copy(model)
    blind.encode = lambda info, target, **_: {**info, **encoded(model, latents[target], target)}
    blocks = z_scored(given["actions"], ACTION.axes).reshape(*given["actions"].shape[:2], -1, 2 * ACTION.action_block)
    frames = torch.zeros(1, count, context.shape[1], 1)  # only their number is read
    info = {"pixels": frames, "goal": frames[:, :, :1], "action": blocks}
    costs = blind.get_cost(info, blocks)
    if verb == "plan":
        return {"cost": costs}
    columns = latent_columns(model)
    return {"latents": info["predicted_embedding"][:, :, context.shape[1] :, :, columns].flatten(3)}


def encoded(model: nn.Module, latents: Tensor, target: str) -> dict[str, Tensor]:
    """Latents `[B, T, D]` as the reference keeps what it encodes: all, and each part by itself."""
    columns = latent_columns(model)
    patches = latents.unflatten(-1, (-1, len(columns)))
    width = model.backbone.config.hidden_size
    everything = torch.zeros(*patches.shape[:-1], width + sum(part.emb_dim for part in model.extra_encoders.values()))
    everything[..., columns] = patches
    found, start = {target: everything, f"pixels_{target}": everything[..., :width]}, width
    for name, part in model.extra_encoders.items():
        found[f"{name}_{target}"] = everything[:, :, 0, start : start + part.emb_dim]
        start += part.emb_dim
    return found


def latent_columns(model: nn.Module) -> list[int]:
    """Which of the reference's columns are observed: all but those of actions."""
    start = model.backbone.config.hidden_size
    columns = list(range(start))
    for name, part in model.extra_encoders.items():
        columns += range(start, start + part.emb_dim) if name != "action" else ()
        start += part.emb_dim
    return columns


def run() -> dict[str, float]:
    """Hold a model of the published size against the reference's: three candidates of five model steps."""
    model = full_size()
    with tempfile.TemporaryDirectory() as folder:
        world = adopted(save(model, Path(folder), PREDICTOR), facts(proprioception=True))
    figures = compared(model, world, drawn(batch=1, frames=1, candidates=3, steps=5, size=196))
    return {"parameters": sum(tensor.numel() for tensor in model.parameters()), "candidates": 3, "steps": 5, **figures}
