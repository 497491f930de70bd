"""A case exported by the command, and its engines held against the reference."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wmserve.world import Axis, Digests, Target, World
from wmserve_export import contract, families, repository
from wmserve_export.__main__ import checkpoint, main
from wmserve_export.contract import ExportOptions
from wmserve_export.engines import Engine, output_axes
from wmserve_export.examples import values_like
from wmserve_export.families import Encoder
from wmserve_export.onnx_graphs import graph
from wmserve_export.runtime import Runner
from wmserve_export.scoring import total

from loadtest.families.cases import Case
from loadtest.families.comparing import relative_error

CANDIDATES = 5


HORIZON = 2
"""Model steps: enough to roll a prediction on."""
Tensors = Mapping[str, Tensor]
Answer = Callable[[str, int, Tensors], Tensors]
"""Verb, model steps (0 where it is not unrolled) and inputs by name -> outputs by name."""


@dataclass(frozen=True)
class Exported:
    """A case's world in a repository of its own."""

    world: World
    place: Path
    seconds: float

    def answer(self, verb: str, horizon: int, given: Tensors) -> Tensors:
        """What an engine answers."""
        folder = repository.version_folder(self.place, self.world.engine(verb))
        run = Runner(folder / (f"horizon_{horizon}.onnx" if horizon else "engine.onnx"))
        return {name: torch.from_numpy(array) for name, array in run(given).items()}

    def bytes(self, verb: str) -> int:
        """Of all files of a verb."""
        return sum(file.stat().st_size for file in (self.place / self.world.engine(verb)).rglob("*") if file.is_file())


def export(case: Case, folder: Path, *options: str) -> Exported:
    """Write the checkpoint and export it by the command; RuntimeError when that refuses."""
    source, facts = written(case, folder)
    arguments = ["--family", case.family, "--world", str(facts), "--quiet", "--rank-problems", "2"]
    arguments += ["--horizons", str(HORIZON), "--repository", str(folder / "repository"), *options]
    began = time.perf_counter()
    status = main([str(source), *arguments])
    if status:
        raise RuntimeError(f"the export of {case.name} ended with {status}")
    world = repository.read(folder / "repository", name_of(case))
    return Exported(world, folder / "repository", time.perf_counter() - began)


def written(case: Case, folder: Path) -> tuple[Path, Path]:
    """The checkpoint, and the file of what it does not say."""
    (folder / "checkpoint").mkdir(parents=True)
    facts = folder / "world.json"
    facts.write_text(json.dumps({"name": name_of(case), "description": "Random weights.", **case.facts}))
    return case.write(folder / "checkpoint"), facts


def loaded(case: Case, folder: Path) -> Encoder:
    """The modules that its engines are made of."""
    source, facts = written(case, folder)
    with checkpoint(source, case.family, facts) as opened:
        return families.load(opened.folder)


def name_of(case: Case) -> str:
    """Of a case's world."""
    return case.family.replace("-", "_")


def errors(case: Case, exported: Exported) -> Mapping[str, float]:
    """Largest error of each verb's engines, relative to the reference's largest value."""
    return compared(case, exported.world, exported.answer)


def module_errors(case: Case, folder: Path) -> Mapping[str, float]:
    """The same of the torch modules that engines are made of, which takes a moment."""
    family = loaded(case, folder)
    digests = Digests(checkpoint="sha256:" + "0" * 64, engines={})
    world = contract.build(family, ExportOptions(horizons=(HORIZON,)), digests, Target())

    def answer(verb: str, horizon: int, given: Tensors) -> Tensors:
        engine = Engine(verb, horizon or None)
        with torch.inference_mode():
            names, answers = output_axes(family.config, engine.graph, engine.horizon), graph(family, engine)(**given)
        return dict(zip(names, answers, strict=True))

    return compared(case, world, answer)


def compared(case: Case, world: World, answer: Answer) -> Mapping[str, float]:
    """Largest error of each verb, relative to the reference's largest value."""
    found = {}
    for verb in world.verbs:
        horizon = HORIZON if world.engine_horizons and verb != "encode" else 0
        given = inputs(world, verb, horizon)
        with torch.inference_mode():
            wanted = case.reference(verb, given)
        answers = dict(answer(verb, horizon, given))
        if verb == "plan":
            answers["cost"] = torch.from_numpy(total(world.metric, answers["goal_distance"].numpy()))[None]
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
