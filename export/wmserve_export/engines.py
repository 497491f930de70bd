"""The engines of a world and their tensors: one file per verb, and per horizon where the verb is unrolled."""

from collections.abc import Mapping
from dataclasses import dataclass

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

    @property
    def file(self) -> str:
        """Name in the version folder; the engine runner finds the horizon in it."""
        return "engine.onnx" if self.horizon is None else f"horizon_{self.horizon}.onnx"

    @property
    def key(self) -> str:
        """Its key among the contract's digests."""
        return f"{self.verb}/{self.file}"


def engines(horizons: tuple[int, ...]) -> list[Engine]:
    """Every engine of a world that is unrolled to `horizons`."""
    return [Engine("encode"), *(Engine(verb, horizon) for verb in ("rollout", "plan") for horizon in horizons)]


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
    if verb != "encode":
        axes["disagreement"] = path
    return {**axes, "readouts": readouts} if config.readouts else axes


def frames_axis(config: FamilyConfig) -> str | int:
    """`T` of an encoder; free where a world takes more than one frame."""
    return "T" if config.context_length > 1 else 1
