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
    """Inputs of a verb, in order; without a horizon `N` is free. `P` counts steps of the action history."""
    frames, width = frames_axis(config), len(config.action.axes)
    if verb == "encode":
        return {"observations": ("B", frames, "h", "w", 3)}
    axes: dict[str, Axes] = {"context": ("B", frames, config.latent_dim)}
    if verb == "plan":
        axes["goal"] = ("B", config.latent_dim)
    axes["actions"] = ("B", "S", "N" if horizon is None else horizon * config.action.action_block, width)
    if config.context_length > 1:
        axes["action_history"] = ("B", "P", width)
    return axes


def output_axes(config: FamilyConfig, verb: str, horizon: int | None) -> Mapping[str, Axes]:
    """Outputs of a verb, in order; without a horizon `H` is free."""
    readouts = len(config.readouts)
    if verb == "encode":
        frames = frames_axis(config)
        return {"latents": ("B", frames, config.latent_dim), "readouts": ("B", frames, readouts)}
    path: Axes = ("B", "S", horizon or "H")
    first = {"latents": (*path, config.latent_dim)} if verb == "rollout" else {"goal_distance": path}
    return {**first, "disagreement": path, "readouts": (*path, readouts)}


def frames_axis(config: FamilyConfig) -> str | int:
    """`T`, where a world takes more than one frame."""
    return "T" if config.context_length > 1 else 1
