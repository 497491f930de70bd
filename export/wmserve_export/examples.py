"""What the gates try a world on.

A checkpoint may bring ``examples.npz`` with ``observations`` `[M, h, w, 3]` uint8: frames from the world's own
camera, and ``proprioception`` `[M, Q]` float32 at them, where the world knows that. Contexts and goals are then their
latents. Without them latents are drawn standard normal, which is what families trained towards an isotropic Gaussian
(SIGReg) have; others should bring examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wmserve.world import Axis

from wmserve_export.engines import Engine, input_axes
from wmserve_export.families import Encoder, FamilyConfig

EXAMPLES_FILE = "examples.npz"


@dataclass(frozen=True)
class Examples:
    """A world's own frames, if it has any, and their latents."""

    observations: Tensor | None
    """Frames `[M, h, w, 3]` uint8."""
    latents: Tensor | None
    """Latents `[M, D]`."""

    @classmethod
    def load(cls, checkpoint: Path, family: Encoder) -> "Examples":
        """Read a checkpoint's examples and encode them."""
        file = checkpoint / EXAMPLES_FILE
        if not file.is_file():
            return NO_EXAMPLES
        with np.load(file, allow_pickle=False) as arrays:
            names = ("observations", "proprioception") if family.config.proprioception else ("observations",)
            observed = [torch.from_numpy(arrays[name]) for name in names]
        with torch.inference_mode():
            latents, _ = family.encode(*(tensor.unsqueeze(1) for tensor in observed))
            return cls(observed[0], latents[:, 0].clone())

    def latents_like(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw latents of a shape `[..., D]`."""
        if self.latents is None:
            return torch.randn(shape, generator=generator)
        rows = torch.randint(len(self.latents), shape[:-1], generator=generator)
        return self.latents[rows]

    def inputs(
        self, config: FamilyConfig, engine: Engine, sizes: Mapping[str, int], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw an engine's inputs: noise for frames, latents as above, actions anywhere within their bounds."""
        sizes = {"T": config.context_length, **sizes}
        inputs: dict[str, Tensor] = {}
        for name, axes in input_axes(config, engine.graph, engine.horizon).items():
            shape = tuple(sizes[axis] if isinstance(axis, str) else axis for axis in axes)
            if name == "observations":
                inputs[name] = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
            elif name == "hidden":
                inputs[name] = torch.randint(0, 2, shape, generator=generator, dtype=torch.uint8)
            elif name in ("context", "goal"):
                inputs[name] = self.latents_like(shape, generator)
            elif name == "proprioception":
                inputs[name] = values_like(config.proprioception, shape, generator)
            else:
                inputs[name] = actions_like(config, shape, generator)
        return inputs


NO_EXAMPLES = Examples(None, None)


def actions_like(config: FamilyConfig, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw actions `[..., A]` evenly within their bounds, environment units."""
    return values_like(config.action.axes, shape, generator)


def values_like(axes: tuple[Axis, ...], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw values of some axes evenly within their bounds."""
    low, high = bounds(axes)
    return low + (high - low) * torch.rand(shape, generator=generator)


def bounds(axes: tuple[Axis, ...]) -> tuple[Tensor, Tensor]:
    """Lowest and highest value of axes, environment units."""
    return torch.tensor([axis.low for axis in axes]), torch.tensor([axis.high for axis in axes])
