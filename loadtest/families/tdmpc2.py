"""TD-MPC2 with random weights: stable-worldmodel's own ``TDMPC2``, its checkpoints, and both beside each other."""

import copy
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from wmserve.world import ActionSpec, Axis
from wmserve_export.families.published import Facts
from wmserve_export.families.tdmpc2 import Tdmpc2

from loadtest.families import adopting
from loadtest.families.comparing import normalised, relative_error
from loadtest.families.dino_wm import z_scored
from loadtest.families.random_weights import randomised

SMALL = {"mlp_dim": 24, "enc_dim": 20, "simnorm_dim": 4, "num_q": 3, "num_bins": 11}
PUBLISHED = {"mlp_dim": 384, "enc_dim": 256, "simnorm_dim": 8, "num_q": 5, "num_bins": 101}
STATES = {"state": 5, "goal_state": 2}
"""Numbers of what is not frames; not in the order of the alphabet."""
ACTION = ActionSpec(
    axes=(
        Axis(name="force", unit="N", low=-20.0, high=40.0, mean=10.0, std=30.0),
        Axis(name="turn", unit="rad", low=-1.0, high=1.0, mean=0.0, std=1.0),
    )
)


def settings(encoding: Mapping[str, int], sizes: Mapping[str, int] = SMALL, image_size: int = 40) -> dict[str, Any]:
    """What its training writes as ``config.json``, as far as it is read; widths of the encoders by name, in order."""
    constants = {"tau": 0.01, "vmin": -10, "vmax": 2, "discount": 0.97, "uncertainty_penalty": 0.7, "horizon": 5}
    return {
        "image_size": image_size,
        "action_dim": len(ACTION.axes),
        "extra_dims": dict(STATES),
        "num_samples": 256,
        "wm": {**sizes, **constants, "encoding": dict(encoding)},
    }


def reference(configuration: Mapping[str, Any]) -> nn.Module:
    """stable-worldmodel's model with random weights, in eval mode."""
    from omegaconf import OmegaConf
    from stable_worldmodel.wm.tdmpc2 import TDMPC2

    return randomised(TDMPC2(OmegaConf.create(dict(configuration))))


def save(model: nn.Module, folder: Path) -> Path:
    """Write a checkpoint as stable-worldmodel does."""
    from omegaconf import OmegaConf

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(OmegaConf.to_container(model.cfg)))
    torch.save(model.state_dict(), folder / "weights.pt")
    return folder


def facts(encoding: Mapping[str, int]) -> Facts:
    """What such a checkpoint does not say."""
    return Facts(
        name="tdmpc2",
        description="A TD-MPC2 with random weights, for tests and measurements.",
        action=ACTION,
        proprioception=tuple(
            Axis(name=f"{name}_{index}", unit="1", low=-3.0, high=5.0, mean=1.0, std=2.0)
            for name in encoding
            for index in range(STATES.get(name, 0))
        ),
    )


def adopted(checkpoint: Path, known: Facts) -> Tdmpc2:
    """What this project makes of a checkpoint."""
    world = adopting.adopted("tdmpc2", checkpoint, known)
    assert isinstance(world, Tdmpc2)
    return world


def compared(model: nn.Module, world: Tdmpc2, batch: int = 2, candidates: int = 4, steps: int = 3) -> dict[str, float]:
    """Largest differences of latents, predicted latents and costs, relative to the largest value; and seconds."""
    generator, axes, size = torch.Generator().manual_seed(1), world.config.proprioception, world.config.image_size
    low, high = (torch.tensor([getattr(axis, end) for axis in ACTION.axes]) for end in ("low", "high"))
    actions = low + (high - low) * torch.rand(batch, candidates, steps, len(low), generator=generator)
    frames = torch.randint(0, 256, (batch, 1, size, size, 3), generator=generator, dtype=torch.uint8)
    values = torch.rand(batch, 1, len(axes), generator=generator) * 8 - 3
    scored, info, start = z_scored(values, axes), {"pixels": normalised(frames)}, 0
    for part in world.config.encoders:
        info[part.name], start = scored[..., start : start + part.inputs], start + part.inputs
    observed = ([frames] if size else []) + ([values] if axes else [])
    with torch.inference_mode():
        asked = {name: value[:, 0] for name, value in info.items()}
        began = time.perf_counter()
        latents, _ = world.encode(*observed)
        path = world.predict(latents, actions)
        costs = world.negative_return(latents, actions, path)
        ours = time.perf_counter() - began
        known = model.encode(asked)
        wanted = rolled_out(model, known, z_scored(actions, ACTION.axes))
        # A plan that stops after each step: the reference knows the cost of whole plans alone.
        stopped = []
        for step in range(steps):
            began = time.perf_counter()
            stopped.append(model.get_cost(asked, z_scored(actions[:, :, : step + 1], ACTION.axes)))
        theirs = time.perf_counter() - began
    return {
        "encode_error": relative_error(latents[:, 0], known),
        "rollout_error": relative_error(path[:, :, 0], wanted),
        "cost_error": relative_error(costs, torch.stack(stopped, dim=-1)),
        "spread_error": relative_error(world.value_spread(path), spread(model, wanted)),
        "plan_s": ours,
        "reference_plan_s": theirs,
    }


def rolled_out(model: nn.Module, latents: Tensor, actions: Tensor) -> Tensor:
    """The reference's latents `[B, S, H, D]` after each of the actions `[B, S, H, A]`, from `[B, D]`."""
    latents, path = latents.unsqueeze(1).expand(-1, actions.shape[1], -1), []
    for action in actions.unbind(dim=2):
        latents = model.dynamics(torch.cat([latents, action], dim=-1))
        path.append(latents)
    return torch.stack(path, dim=2)


def spread(model: nn.Module, latents: Tensor) -> Tensor:
    """Standard deviation of the reference's critics `[...]` at latents `[..., D]`, for its policy's mean action."""
    from stable_worldmodel.wm.tdmpc2 import two_hot_inv

    with torch.inference_mode():
        inputs = torch.cat([latents, torch.tanh(model.pi(latents).chunk(2, dim=-1)[0])], dim=-1)
        return torch.stack([two_hot_inv(critic(inputs), model.cfg)[..., 0] for critic in model.qs]).std(dim=0)


def answered(model: nn.Module, verb: str, given: Mapping[str, Tensor], axes: tuple[Axis, ...]) -> dict[str, Tensor]:
    """What the reference makes of an engine's inputs: its latents are those of what it has not seen."""
    if verb == "encode":
        info, start = {"pixels": normalised(given["observations"])} if "observations" in given else {}, 0
        for name in model.extra_encoders:
            values = z_scored(given["proprioception"], axes)[..., start : start + STATES[name]]
            info[name], start = values, start + STATES[name]
        return {"latents": model.encode(info)}
    latents, actions = given["context"][:, 0], z_scored(given["actions"], ACTION.axes)
    if verb == "rollout":
        path = rolled_out(model, latents, actions)
        return {"latents": path, "disagreement": spread(model, path)}
    blind = copy.copy(model)
    blind.encode = lambda _: latents
    return {"cost": blind.get_cost(dict.fromkeys(model.cfg.wm.encoding, latents), actions)}


def own_format(tensors: Mapping[str, Tensor], numbered: bool = False) -> dict[str, Tensor]:
    """A state dict under the names of TD-MPC2's authors: critics stacked, and in older files numbered.

    An encoder's last norm is its layer's there. Held once against their layers (nicklashansen/tdmpc2): encodings,
    rollouts and returns of the same weights agree within 1e-6, under both spellings.
    """
    modules = {
        "dynamics.": "_dynamics.",
        "reward.": "_reward.",
        "pi.": "_pi.",
        "extra_encoders.state.": "_encoder.state.",
    }
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for ours, theirs in modules.items():
            if name.startswith(ours):
                inner = name.removeprefix(ours)
                found[theirs + (inner.replace("2.", "1.ln.") if "encoder" in theirs else inner)] = tensor
    parts = [name.removeprefix("qs.0.") for name in tensors if name.startswith("qs.0.")]
    for number, part in enumerate(parts):
        stacked = torch.stack([tensors[name] for name in tensors if name.startswith("qs.") and name[5:] == part])
        found[f"_Qs.params.{number if numbered else part}"] = stacked
        found[f"_target_Qs.params.{number}" if numbered else f"_target_Qs_params.{part}"] = stacked
    return found


def run() -> dict[str, float]:
    """Hold a model of the published sizes, which observes frames and states, against the reference's."""
    encoding = {"pixels": 128, "state": 128}
    model = reference(settings(encoding, PUBLISHED, image_size=64))
    with tempfile.TemporaryDirectory() as folder:
        world = adopted(save(model, Path(folder)), facts(encoding))
    figures = compared(model, world, batch=1, candidates=512, steps=5)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    return {"parameters": parameters, "candidates": 512, "steps": 5, **figures}
