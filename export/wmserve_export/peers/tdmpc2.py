"""TD-MPC2 as stable-worldmodel has it."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor
from wmserve.world import ActionSpec, Axis

from wmserve_export.families.facts import Facts
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD, Statistics
from wmserve_export.families.published import Published
from wmserve_export.pairs import Pairs
from wmserve_export.peers import NoPeerError
from wmserve_export.peers.building import load, prepared, settings_of
from wmserve_export.peers.stable_worldmodel import TDMPC2, scored, spread

UNUSED = ("target_qs.", "scale.")


@dataclass(frozen=True)
class Tdmpc2Peer:
    """A ``TDMPC2``."""

    model: Any
    side: int
    pixels: tuple[Statistics, Statistics]
    action: ActionSpec
    proprioception: tuple[Axis, ...]

    def answers(self, given: Pairs) -> Pairs:
        """Latents, those after each action, and minus the return of the whole plan."""
        assert given.actions is not None, "it knows actions"
        info: dict[str, Tensor] = {}
        if given.observations is not None:
            info["pixels"] = prepared(given.observations[:, 0], self.pixels)
        if given.proprioception is not None:
            widths = {name: part[0].in_features for name, part in self.model.extra_encoders.items()}
            info |= spread(scored(given.proprioception[:, 0], self.proprioception), widths)
        actions, path = scored(given.actions, self.action.axes), []
        with torch.inference_mode():
            latents = step = self.model.encode(info)
            for action in actions.unbind(dim=1):
                step = self.model.dynamics(torch.cat([step, action], dim=-1))
                path.append(step)
            costs = copy.copy(self.model).get_cost(info, actions[:, None])[:, 0]
        return replace(given, latents=latents[:, None], predicted=torch.stack(path, dim=1), costs=costs)


def build(family: str, source: Published, facts: Facts) -> Tdmpc2Peer:
    """The package's model from a checkpoint's settings and tensors."""
    del family  # one
    if any(name.startswith("_dynamics.") for name in source.tensors):
        raise NoPeerError("checkpoints of the authors are not of stable-worldmodel")
    settings: Any = settings_of(source)
    if not source.settings:
        settings = settings.get("cfg", {})
    if "wm" not in settings:
        raise NoPeerError("config.json has no settings of stable-worldmodel's training (wm)")
    plain = {key: value for key, value in settings.items() if key != "preprocessor"}
    try:
        model = TDMPC2(OmegaConf.create(plain))
    except Exception as error:  # whatever the package makes of settings that it does not understand
        raise NoPeerError(f"TDMPC2 cannot be built from config.json: {error}") from None
    load(model, source.tensors, UNUSED)
    side = (facts.image_size or plain.get("image_size") or 0) if model.use_pixels else 0
    pixels = source.pixels(facts, (IMAGENET_MEAN, IMAGENET_STD))
    return Tdmpc2Peer(model, side, pixels, facts.known_action(), facts.proprioception)
