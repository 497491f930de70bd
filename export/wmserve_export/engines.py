"""The engines of a world and their tensors: one file per verb, and per horizon where the verb is unrolled.

Where plans are of mixed precision, each of their engines has a coarse one beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wmserve.world import Precision

from wmserve_export.families import FamilyConfig

VERBS = ("encode", "rollout", "plan")

Axes = tuple[str | int, ...]
"""Axes of a tensor: a free one is a letter, a fixed one its size."""


@dataclass(frozen=True)
class Engine:
    """One ONNX file of a world."""

    verb: str
    horizon: int | None = None
    """Model steps it is unrolled to; None for ``encode``."""
    coarse: bool = False
    """Whether its products are in 8-bit integers."""

    @property
    def file(self) -> str:
        """Name in the version folder; the engine runner finds the horizon in it."""
        kind = "_coarse" if self.coarse else ""
        return "engine.onnx" if self.horizon is None else f"horizon_{self.horizon}{kind}.onnx"

    @property
    def key(self) -> str:
        """Its key among the contract's digests."""
        return f"{self.verb}/{self.file}"

    def coarsened(self) -> "Engine":
        """The coarse engine beside this one."""
        return replace(self, coarse=True)


def engines(horizons: tuple[int, ...], precision: Precision = "float32") -> list[Engine]:
    """Every engine of a world that is unrolled to `horizons`; those that others are made from come first."""
    exact = [Engine("encode"), *(Engine(verb, horizon) for verb in ("rollout", "plan") for horizon in horizons)]
    return exact if precision == "float32" else exact + [e.coarsened() for e in exact if e.verb == "plan"]


def input_axes(config: FamilyConfig, verb: str, horizon: int | None) -> Mapping[str, Axes]:
    """Inputs of a verb, in order; without a horizon `N` is free. Rollouts start from `context_length` frames."""
    width = len(config.action.axes)
    if verb == "encode":
        return {"observations": ("B", frames_axis(config), "h", "w", 3)}
    axes: dict[str, Axes] = {"context": ("B", config.context_length, config.latent_dim)}
    if verb == "plan":
        axes["goal"] = ("B", config.latent_dim)
    axes["actions"] = ("B", "S", "N" if horizon is None else horizon * config.action.action_block, width)
    if config.context_length > 1:
        axes["action_history"] = ("B", (config.context_length - 1) * config.action.action_block, width)
    return axes


def output_axes(config: FamilyConfig, verb: str, horizon: int | None) -> Mapping[str, Axes]:
    """Outputs of a verb, in order; without a horizon `H` is free. A world without readouts has no such output.

    Triton knows no axis of size 0.
    """
    path: Axes = ("B", frames_axis(config)) if verb == "encode" else ("B", "S", horizon or "H")
    latents, readouts = (*path, config.latent_dim), (*path, len(config.readouts))
    axes: dict[str, Axes] = {"goal_distance": path} if verb == "plan" else {"latents": latents}
    if verb == "encode":
        axes["features"] = (*path, config.feature_dim)
    else:
        axes["disagreement"] = path
    return {**axes, "readouts": readouts} if config.readouts else axes


def frames_axis(config: FamilyConfig) -> str | int:
    """`T` of an encoder; free where a world takes more than one frame."""
    return "T" if config.context_length > 1 else 1
