"""The engines of a world as they are before it is fitted: what encodes and predicts, for learning and for gates."""

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn
from wmserve.world import World

from wmserve_export.calibration.measure import verified
from wmserve_export.engines import Engine
from wmserve_export.external_data import DATA_FILE, has_external_data
from wmserve_export.families import Described
from wmserve_export.fit import surgery
from wmserve_export.fit.heads import Distance
from wmserve_export.graphs import PATHS
from wmserve_export.runtime import Floats, Runner


class FromContract(Described):
    """What a family's configuration says, as far as a contract knows it."""

    latent_shape: tuple[int, ...]
    feature_dim: int

    @classmethod
    def of(cls, world: World, feature_dim: int) -> "FromContract":
        """That of a world."""
        return cls(
            family=world.family,
            name=world.name,
            description=world.description,
            image_size=world.observation.native_height,
            context_length=world.context_length,
            members=world.ensemble_size,
            action=world.action,
            readouts=world.readouts,
            tubelet_size=world.observation.tubelet_size,
            proprioception=world.observation.proprioception,
            goal_metric=world.goal_metric,
            planner=world.planner,
            latent_shape=world.latent_shape,
            feature_dim=feature_dim,
        )


class Before:
    """Files of a world in a repository, checked against its contract, and runners of those whose paths are shown."""

    def __init__(self, place: Path, world: World, scratch: Path) -> None:
        self.world, self._place, self._scratch = world, place, scratch
        self._runners: dict[Engine, Runner] = {}
        self._files: dict[Engine, Path] = {}

    def file(self, engine: Engine) -> Path:
        """An engine's file; CalibrationError where it is not the contract's."""
        if engine not in self._files:
            self._files[engine] = verified(self._place, self.world, engine)
        return self._files[engine]

    def runner(self, engine: Engine) -> Runner:
        """One that answers `paths`, too; kept, unless its weights are large."""
        if engine in self._runners:
            return self._runners[engine]
        file = self.file(engine)
        folder = self._scratch / engine.verb
        folder.mkdir(parents=True, exist_ok=True)
        if has_external_data(file) and not (folder / DATA_FILE).exists():
            linked(file.with_name(DATA_FILE), folder / DATA_FILE)
        shown = folder / engine.file
        onnx.save(ir.to_proto(surgery.shown(file, engine)), shown)
        runner = Runner(shown)
        if not has_external_data(file):
            self._runners[engine] = runner
        return runner

    def config(self) -> FromContract:
        """What its engines say of themselves."""
        model = ir.load(self.file(Engine("encode")))
        (features,) = (value for value in model.graph.outputs if value.name == "features")
        assert features.shape is not None, "the exporter writes shapes"
        width = features.shape[-1]
        assert isinstance(width, int), "features have a fixed width"
        return FromContract.of(self.world, width)


class Predicting(nn.Module):
    """What the rank gate asks of a family: the engines' predictions, and a new goal distance."""

    def __init__(self, before: Before, config: FromContract, metric: Distance) -> None:
        super().__init__()
        self.config, self._before, self._metric = config, before, metric

    def encode(self, *observed: Tensor) -> tuple[Tensor, Tensor]:
        """Not asked."""
        raise NotImplementedError(f"{len(observed)} inputs: frames are not encoded by a rank gate")

    def readout(self, latents: Tensor) -> Tensor:
        """Not looked at."""
        return latents[..., : len(self.config.readouts)]

    def predict(self, context: Tensor, actions: Tensor, members: int | None = None) -> Tensor:
        """Context `[B, T, D]`, actions of past and candidates -> `[B, S, E, H, D]` of the members that searches ask."""
        block = self.config.action.action_block
        past = (self.config.context_length - 1) * block
        given = {"context": context, "actions": actions[:, :, past:].contiguous()}
        if past:
            given["action_history"] = actions[:, 0, :past].contiguous()
        engine = Engine("plan", (actions.shape[2] - past) // block)
        assert members in (None, self._before.world.search_members), "who ranks asks those that searches ask"
        return torch.from_numpy(self.paths(engine, given))

    def paths(self, engine: Engine, given: Mapping[str, Tensor]) -> Floats:
        """Of any goal."""
        goal = torch.zeros(len(given["context"]), math.prod(self.config.latent_shape))
        return self._before.runner(engine)({**given, "goal": goal})[PATHS]

    def goal_distance(self, latents: Tensor, goal: Tensor) -> Tensor:
        """The fitted one."""
        return self._metric(latents, goal)


def linked(file: Path, place: Path) -> None:
    """The same file in another place: a copy where there can be no link."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


def encoded(run: Runner, observed: Mapping[str, np.ndarray], at_once: int = 16) -> Floats:
    """Latents `[L, D]` of what a trajectory shows, some frames at a time."""
    length = len(next(iter(observed.values())))
    rows = []
    for start in range(0, length, at_once):
        some = {name: array[start : start + at_once, None] for name, array in observed.items()}
        rows.append(run({name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in some.items()})["latents"])
    return np.concatenate(rows)[:, 0]
