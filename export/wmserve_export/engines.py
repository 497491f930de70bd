"""The engines of a world and their tensors: one file per verb, and per horizon where the verb is unrolled.

Beside each engine that scores candidates of a plan is one that judges the plan found; where plans are of mixed
precision, also a coarse one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from wmserve.world import Precision, Target, Verb

from wmserve_export.families import FamilyConfig

Kind = Literal["exact", "coarse", "judge"]
"""``coarse``: products in 8-bit integers. ``judge``: what a plan is judged by, with members that no search has seen."""
CPU = Target()
Axes = tuple[str | int, ...]
"""Axes of a tensor: a free one is a letter, a fixed one its size."""


@dataclass(frozen=True)
class Engine:
    """One ONNX file of a world."""

    verb: str
    horizon: int | None = None
    """Model steps it is unrolled to; None for ``encode``, and for a rollout without actions."""
    kind: Kind = "exact"

    @property
    def stem(self) -> str:
        """Name of its files; the engine runner finds the horizon in it."""
        kind = "" if self.kind == "exact" else f"_{self.kind}"
        return "engine" if self.horizon is None else f"horizon_{self.horizon}{kind}"

    @property
    def file(self) -> str:
        """Name of its ONNX file in the version folder."""
        return f"{self.stem}.onnx"

    @property
    def key(self) -> str:
        """Its key among the contract's digests, where engines are ONNX files."""
        return self.key_of(CPU)

    def key_of(self, target: Target) -> str:
        """Its key among the contract's digests."""
        return f"{self.verb}/{self.stem}.{target.suffix}"

    @property
    def graph(self) -> str:
        """Which graph of a world it is."""
        if self.verb == "rollout" and self.horizon is None:
            return "fill"
        return "judge" if self.kind == "judge" else self.verb

    def beside(self, kind: Kind) -> "Engine":
        """The engine of another kind beside this one."""
        return replace(self, kind=kind)


def engines(verbs: tuple[Verb, ...], horizons: tuple[int, ...], precision: Precision = "float32") -> list[Engine]:
    """Every engine of a world that is unrolled to `horizons`, if to any; those that others are made from come first."""
    unrolled: tuple[int | None, ...] = horizons or (None,)
    exact = [Engine("encode"), *(Engine(verb, horizon) for verb in verbs if verb != "encode" for horizon in unrolled)]
    kinds: tuple[Kind, ...] = ("judge",) if precision == "float32" else ("judge", "coarse")
    return exact + [engine.beside(kind) for kind in kinds for engine in exact if engine.verb == "plan"]


def search_members(members: int) -> int:
    """Of an ensemble, how many a search may ask; the others are kept from it, to judge what it finds. 3 of 5, 5 of 8.

    Of one or two none can be spared.
    """
    return members if members < 3 else members - max(1, 2 * members // 5)


def input_axes(config: FamilyConfig, graph: str, horizon: int | None) -> Mapping[str, Axes]:
    """Inputs of a graph, in order; without a horizon `N` is free. Rollouts start from `context_length` frames."""
    width, axes = len(config.action.axes), dict[str, Axes]()
    if graph in ("encode", "fill"):
        if config.image_size:
            axes["observations"] = ("B", frames_axis(config), "h", "w", 3)
        if config.proprioception:
            axes["proprioception"] = ("B", frames_axis(config), len(config.proprioception))
        if graph == "fill":
            axes["hidden"] = ("B", latents_axis(config), math.prod(config.latent_shape[:-1]))
        return axes
    axes["context"] = ("B", config.context_length, latent_dim(config))
    if graph in ("plan", "judge") and config.goal_metric is not None and config.goal_metric.needs_goal:
        axes["goal"] = ("B", latent_dim(config))
    axes["actions"] = ("B", "S", "N" if horizon is None else horizon * config.action.action_block, width)
    if config.context_length > 1:
        axes["action_history"] = ("B", (config.context_length - 1) * config.action.action_block, width)
    return axes


def output_axes(config: FamilyConfig, graph: str, horizon: int | None) -> Mapping[str, Axes]:
    """Outputs of a graph, in order; without a horizon `H` is free. A world without readouts has no such output.

    Triton knows no axis of size 0.
    """
    steps, width = horizon or "H", len(config.readouts)
    path: Axes = ("B", latents_axis(config)) if graph in ("encode", "fill") else ("B", "S", steps)
    latents, searching = (*path, latent_dim(config)), search_members(config.members)
    axes: dict[str, Axes]
    if graph == "fill":
        return {"latents": latents, "surprise": (*path, math.prod(config.latent_shape[:-1]))}
    if graph == "encode":
        axes = {"latents": latents, "features": (*path, config.feature_dim), "readouts": (*path, width)}
    elif graph == "rollout":
        axes = {"latents": latents, "disagreement": path, "readouts": (*path, width)}
    elif graph == "plan":
        axes = {"goal_distance": path, "disagreement": path, "readouts": ("B", "S", searching, steps, width)}
    else:
        axes = {"latents": latents, "disagreement": path}
        if searching < config.members:
            axes["goal_distance"] = path
        axes["readouts"] = ("B", "S", config.members, steps, width)
    return axes if config.readouts else {name: axis for name, axis in axes.items() if name != "readouts"}


def frames_axis(config: FamilyConfig) -> str | int:
    """`T` of an encoder; free where a world takes more than one frame, but not where it takes them in tubelets."""
    return "T" if config.context_length > 1 and config.tubelet_size == 1 else config.context_length


def latents_axis(config: FamilyConfig) -> str | int:
    """How many latents come of so many frames."""
    frames = frames_axis(config)
    return frames if isinstance(frames, str) else frames // config.tubelet_size


def latent_dim(config: FamilyConfig) -> int:
    """Numbers in the latents of one frame."""
    return math.prod(config.latent_shape)
