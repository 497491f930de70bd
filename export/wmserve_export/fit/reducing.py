"""Scales latents to mean 0 and variance 1 before a head learns from them; those of patches to fewer numbers, too."""

import torch
from torch import Tensor, nn

from wmserve_export.fit.heads import Stack, linear

WIDEST = 512
"""Latent dimension up to which each number is taken as it is."""
COMPONENTS = 128
"""Principal components that are taken of larger ones."""
SAMPLES = 2000
"""Frames that these are found in."""


class Reduction(nn.Module):
    """Latents `[..., D]` -> numbers `[..., W]`; an affine map."""

    def __init__(self, latents: Tensor) -> None:
        super().__init__()
        self.mean = latents.mean(dim=0)
        if latents.shape[1] <= WIDEST:
            self.matrix = torch.diag(1 / (latents.std(dim=0) + 1e-6))
        else:
            some = latents[torch.randperm(len(latents))[:SAMPLES]] - self.mean
            found = torch.svd_lowrank(some, q=min(COMPONENTS, len(some) - 1), niter=4)
            scale = found[1] / len(some) ** 0.5
            self.matrix = found[2] / (scale + 1e-3 * scale[0])

    def forward(self, latents: Tensor) -> Tensor:
        """Reduce."""
        return (latents - self.mean) @ self.matrix

    def before(self, head: Stack) -> Stack:
        """A head of reduced latents as a head of latents; the map becomes part of its first where that is no larger."""
        first, *rest = head.layers
        assert isinstance(first, nn.Linear)
        if self.matrix.shape[0] == self.matrix.shape[1] or first.out_features <= self.matrix.shape[1]:
            weight = self.matrix @ first.weight.T
            folded = linear(weight, first.bias - self.mean @ weight)
            return Stack(folded, *rest, active=head.active)  # type: ignore[arg-type]
        reduced = linear(self.matrix, -self.mean @ self.matrix)
        return Stack(reduced, first, *rest, active=(False, *head.active))  # type: ignore[arg-type]
