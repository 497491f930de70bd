"""The peer on the same checkpoint, in process: stable-worldmodel's module, `CEMSolver` and `WorldModelPolicy`."""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path as FilePath
from types import SimpleNamespace
from typing import Any

import numpy as np

from wmserve_client.environments import EnvironmentFault
from wmserve_client.environments.acting import Path
from wmserve_client.environments.opening import function, import_peer
from wmserve_client.environments.problems import Problem
from wmserve_client.environments.simulators import Floats, Frame
from wmserve_client.environments.stage import Stage
from wmserve_client.requests import PlannerOptions
from wmserve_client.results import World

TRUSTED = ("stable_worldmodel.", "stable_pretraining.", "transformers.", "torch.nn.")
"""Packages whose classes a checkpoint's config.json may name: to build a model is to run what it names."""
NAMING = ("hydra.utils.get_class", "hydra.utils.get_method")
"""Targets that stand for what their `path` names."""
VIT = "stable_pretraining.backbone.utils.vit_hf"
"""What makes the encoder of its recipes; built of transformers' parts where that package is not installed."""
VIT_SIZES = {"tiny": (192, 12, 3, 768), "small": (384, 12, 6, 1536), "base": (768, 12, 12, 3072)}
"""Width, layers, heads and MLP width; keywords beside the size say otherwise."""
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Search:
    """How large a search is; both sides are given the same."""

    candidates: int
    iterations: int
    elites: int
    horizon: int
    receding_horizon: int

    @staticmethod
    def of(world: World, options: PlannerOptions, receding_horizon: int | None) -> "Search":
        """The world's, where a caller does not say otherwise."""
        default = world.planner
        return Search(
            options.candidate_count or default.candidate_count,
            options.iterations or default.iterations,
            options.elite_count or default.elite_count,
            options.horizon or default.horizon,
            receding_horizon or default.receding_horizon,
        )


class Scaler:
    """Actions between the environment's units and those that the model was trained on."""

    def __init__(self, world: World) -> None:
        self._mean, self._std = (
            np.array([getattr(axis, name) for axis in world.action.axes], np.float32) for name in ("mean", "std")
        )

    def transform(self, actions: Floats) -> Floats:
        """To z-scores."""
        return (actions - self._mean) / self._std

    def inverse_transform(self, actions: Floats) -> Floats:
        """To the environment's units."""
        return actions * self._std + self._mean


class Peer:
    """Plays as the peer's own evaluation does: from one frame, planning again after so many model steps."""

    def __init__(self, model: Any, world: World, search: Search, pixels: Callable[[Any], Any]) -> None:
        self._model, self._world, self._search, self._pixels = model, world, search, pixels

    def begin(self, stage: Stage, problem: Problem, goal: Frame) -> None:
        """A solver of the episode's own seed."""
        from gymnasium import spaces
        from stable_worldmodel.policy import PlanConfig, WorldModelPolicy
        from stable_worldmodel.solver import CEMSolver

        del stage
        search, dimension = self._search, len(self._world.action.axes)
        solver = CEMSolver(
            self._model,
            num_samples=search.candidates,
            n_steps=search.iterations,
            topk=search.elites,
            seed=problem.seed,
        )
        config = PlanConfig(search.horizon, search.receding_horizon, action_block=self._world.action.action_block)
        transform = {"pixels": self._pixels, "goal": self._pixels}
        self._policy = WorldModelPolicy(solver, config, {"action": Scaler(self._world)}, transform)
        space = spaces.Box(-np.inf, np.inf, (1, dimension), np.float32)
        single = spaces.Box(-np.inf, np.inf, (dimension,), np.float32)
        self._policy.set_env(SimpleNamespace(num_envs=1, action_space=space, single_action_space=single))
        self._goal, self._action = goal[None, None], np.zeros((1, 1, dimension), np.float32)

    def act(self, path: Path) -> Floats:
        """One action."""
        info = {"pixels": path.frames[-1][None, None], "goal": self._goal, "action": self._action}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints at each solve
            action = self._policy.get_action(info)
        return np.asarray(action, np.float32).reshape(1, -1)


def load(checkpoint: FilePath) -> Any:
    """The model of a folder with config.json and one .pt file of weights, as the package itself saves it.

    Raises EnvironmentFault where it is something else, or names classes of packages that are not the peer's.
    """
    import_peer()
    import torch
    from hydra.utils import instantiate

    weights = sorted(checkpoint.glob("*.pt"))
    if len(weights) != 1 or not (checkpoint / "config.json").is_file():
        raise EnvironmentFault(
            f"--peer-checkpoint {checkpoint}: needs config.json and one .pt file, it has {len(weights)}"
        )
    config = json.loads((checkpoint / "config.json").read_text())
    foreign = [name for name in targets(config) if not name.startswith(TRUSTED)]
    if foreign:
        raise EnvironmentFault(f"{checkpoint}/config.json names {foreign[0]}; only {', '.join(TRUSTED)} are built")
    try:
        if not find_spec("stable_pretraining") and config.get("encoder", {}).get("_target_") == VIT:
            encoder = vit(**{name: value for name, value in config.pop("encoder").items() if name != "_target_"})
            model = instantiate(config, encoder=encoder)
        else:
            model = instantiate(config)
        model.load_state_dict(torch.load(weights[0], map_location="cpu", weights_only=True))
    except Exception as error:  # whatever other people's constructors raise
        raise EnvironmentFault(f"{checkpoint} cannot be loaded: {type(error).__name__}: {error}") from error
    if not hasattr(model, "get_cost"):
        raise EnvironmentFault(f"{checkpoint} is a {type(model).__name__}, which has no get_cost")
    return model.eval()


def vit(size: str, pretrained: bool = False, use_mask_token: bool = True, **more: Any) -> Any:
    """The encoder of those keywords; weights come with the checkpoint."""
    from transformers import ViTConfig, ViTModel

    del pretrained
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    sizes = dict(zip(names, VIT_SIZES[size], strict=True)) | more
    config = ViTConfig(**sizes)  # type: ignore[no-untyped-call]
    return ViTModel(config, add_pooling_layer=False, use_mask_token=use_mask_token)


def targets(config: Any) -> list[str]:
    """All classes and functions that a configuration names."""
    if isinstance(config, dict):
        name = str(config.get("_target_", TRUSTED[0]))
        own = [str(config.get("path"))] if name in NAMING else [name]
        return own + [name for value in config.values() for name in targets(value)]
    return [name for value in config for name in targets(value)] if isinstance(config, list) else []


def prepare(model: Any, chosen: str | None) -> Callable[[Any], Any]:
    """How frames are prepared: by a function of the caller's own, else as the package's own examples do it."""
    if chosen is not None:
        return function(chosen)
    import torch

    size = getattr(getattr(getattr(model, "encoder", None), "config", None), "image_size", None)
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)

    def pixels(frame: Any) -> Any:
        """A frame `[3, h, w]` uint8, normalised by ImageNet's statistics, in the encoder's size."""
        scaled = (torch.as_tensor(frame).float() / 255.0 - mean) / std
        if size is None or scaled.shape[-2:] == (size, size):
            return scaled
        return torch.nn.functional.interpolate(
            scaled[None], (size, size), mode="bilinear", antialias=True, align_corners=False
        )[0]

    return pixels
