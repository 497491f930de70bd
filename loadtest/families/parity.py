"""A case exported by the command, and its engines held against the reference."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wmserve.world import Axis, World
from wmserve_export import repository
from wmserve_export.__main__ import main
from wmserve_export.examples import values_like
from wmserve_export.runtime import Runner
from wmserve_export.scoring import total

from loadtest.families.cases import Case
from loadtest.families.comparing import relative_error

CANDIDATES = 5


@dataclass(frozen=True)
class Exported:
    """A case's world in a repository of its own."""

    world: World
    place: Path
    seconds: float

    def runner(self, verb: str) -> tuple[Runner, int]:
        """The verb's first engine, and the model steps that it is unrolled to; 0 where it is not."""
        folder = repository.version_folder(self.place, self.world.engine(verb))
        horizons = self.world.engine_horizons if verb != "encode" else ()
        file = folder / (f"horizon_{horizons[0]}.onnx" if horizons else "engine.onnx")
        return Runner(file), horizons[0] if horizons else 0

    def bytes(self, verb: str) -> int:
        """Of all files of a verb."""
        return sum(file.stat().st_size for file in (self.place / self.world.engine(verb)).rglob("*") if file.is_file())


def export(case: Case, folder: Path, *options: str) -> Exported:
    """Write the checkpoint and export it by the command; RuntimeError when that refuses."""
    (folder / "checkpoint").mkdir(parents=True)
    source, name = case.write(folder / "checkpoint"), case.family.replace("-", "_")
    facts = {"name": name, "description": "Random weights.", **case.facts}
    (folder / "world.json").write_text(json.dumps(facts))
    arguments = ["--family", case.family, "--world", str(folder / "world.json"), "--quiet", "--rank-problems", "2"]
    arguments += ["--horizons", "2"]  # enough to roll a prediction on
    began = time.perf_counter()
    status = main([str(source), *arguments, "--repository", str(folder / "repository"), *options])
    if status:
        raise RuntimeError(f"the export of {case.name} ended with {status}")
    world = repository.read(folder / "repository", name)
    return Exported(world, folder / "repository", time.perf_counter() - began)


def errors(case: Case, exported: Exported) -> Mapping[str, float]:
    """Largest error of each verb, relative to the reference's largest value."""
    found = {}
    for verb in exported.world.verbs:
        run, horizon = exported.runner(verb)
        given = inputs(exported.world, verb, horizon)
        with torch.inference_mode():
            wanted = case.reference(verb, given)
        answers = {name: torch.from_numpy(array) for name, array in run(given).items()}
        if verb == "plan":
            answers["cost"] = torch.from_numpy(total(exported.world.metric, answers["goal_distance"].numpy()))[None]
        found[verb] = max(relative_error(answers[name], tensor) for name, tensor in wanted.items())
    return found


def inputs(world: World, verb: str, horizon: int) -> dict[str, Tensor]:
    """Noise, within the bounds of the world, of its native size."""
    generator, spec = torch.Generator().manual_seed(7), world.observation
    given: dict[str, Tensor] = {}
    if verb == "encode" or not world.action.axes:
        shape = (1, world.context_length, spec.native_height, spec.native_width, 3)
        if spec.frames:
            given["observations"] = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        if spec.proprioception:
            given["proprioception"] = drawn(spec.proprioception, (1, world.context_length), generator)
        if verb != "encode":
            patches = int(np.prod(world.latent_shape[:-1]))
            given["hidden"] = (torch.rand(1, world.latent_count, patches, generator=generator) < 0.6).to(torch.uint8)
        return given
    given["context"] = torch.randn(1, world.context_length, world.latent_dim, generator=generator)
    if verb == "plan" and world.metric.needs_goal:
        given["goal"] = torch.randn(1, world.latent_dim, generator=generator)
    block = world.action.action_block
    given["actions"] = drawn(world.action.axes, (1, CANDIDATES, horizon * block), generator)
    if world.context_length > 1:
        given["action_history"] = drawn(world.action.axes, (1, (world.context_length - 1) * block), generator)
    return given


def drawn(axes: tuple[Axis, ...], path: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Values within the bounds of axes, `[*path, A]`."""
    return values_like(axes, (*path, len(axes)), generator)
