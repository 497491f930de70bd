"""The engines of a world and their tensors: one file per verb, and per horizon where the verb is unrolled.

Beside each engine that scores candidates of a plan is one that judges the plan found; where plans are of mixed
precision, also a coarse one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from wmserve.world import Precision

from wmserve_export.families import FamilyConfig

VERBS = ("encode", "rollout", "plan")

Kind = Literal["exact", "coarse", "judge"]
"""``coarse``: products in 8-bit integers. ``judge``: what a plan is judged by, with members that no search has seen."""
Axes = tuple[str | int, ...]
"""Axes of a tensor: a free one is a letter, a fixed one its size."""


@dataclass(frozen=True)
class Engine:
    """One ONNX file of a world."""

    verb: str
    horizon: int | None = None
    """Model steps it is unrolled to; None for ``encode``."""
    kind: Kind = "exact"

    @property
    def file(self) -> str:
        """Name in the version folder; the engine runner finds the horizon in it."""
        kind = "" if self.kind == "exact" else f"_{self.kind}"
        return "engine.onnx" if self.horizon is None else f"horizon_{self.horizon}{kind}.onnx"

    @property
    def key(self) -> str:
        """Its key among the contract's digests."""
        return f"{self.verb}/{self.file}"

    @property
    def graph(self) -> str:
        """Which graph of a world it is."""
        return "judge" if self.kind == "judge" else self.verb

    def beside(self, kind: Kind) -> "Engine":
        """The engine of another kind beside this one."""
        return replace(self, kind=kind)


def engines(horizons: tuple[int, ...], precision: Precision = "float32") -> list[Engine]:
    """Every engine of a world that is unrolled to `horizons`; those that others are made from come first."""
    exact = [Engine("encode"), *(Engine(verb, horizon) for verb in ("rollout", "plan") for horizon in horizons)]
    kinds: tuple[Kind, ...] = ("judge",) if precision == "float32" else ("judge", "coarse")
    return exact + [engine.beside(kind) for kind in kinds for engine in exact if engine.verb == "plan"]


def search_members(members: int) -> int:
    """Of an ensemble, how many a search may ask; the others are kept from it, to judge what it finds. 3 of 5, 5 of 8.

    Of one or two none can be spared.
    """
    return members if members < 3 else members - max(1, 2 * members // 5)


def input_axes(config: FamilyConfig, graph: str, horizon: int | None) -> Mapping[str, Axes]:
    """Inputs of a graph, in order; without a horizon `N` is free. Rollouts start from `context_length` frames."""
    width = len(config.action.axes)
    if graph == "encode":
        return {"observations": ("B", frames_axis(config), "h", "w", 3)}
    axes: dict[str, Axes] = {"context": ("B", config.context_length, config.latent_dim)}
    if graph in ("plan", "judge"):
        axes["goal"] = ("B", config.latent_dim)
    axes["actions"] = ("B", "S", "N" if horizon is None else horizon * config.action.action_block, width)
    if config.context_length > 1:
        axes["action_history"] = ("B", (config.context_length - 1) * config.action.action_block, width)
    return axes


def output_axes(config: FamilyConfig, graph: str, horizon: int | None) -> Mapping[str, Axes]:
    """Outputs of a graph, in order; without a horizon `H` is free. A world without readouts has no such output.

    Triton knows no axis of size 0.
    """
    steps, width = horizon or "H", len(config.readouts)
    path: Axes = ("B", frames_axis(config)) if graph == "encode" else ("B", "S", steps)
    latents, searching = (*path, config.latent_dim), search_members(config.members)
    axes: dict[str, Axes]
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
    """`T` of an encoder; free where a world takes more than one frame."""
    return "T" if config.context_length > 1 else 1
