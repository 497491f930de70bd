"""Where the predictor's tokens are: a patch in a frame, a row and a column, an action and a pose in a frame alone.

Turned as :mod:`wmserve_export.families.rotation` says, which is no rotation in the strict sense: scores depend on more
than differences of positions, so a frame keeps the position that it has from the start.
"""

import torch
from torch import Tensor, nn

from wmserve_export.families.rotation import turns

Turn = tuple[Tensor, Tensor]
"""Cosines and sines `[N, K]` of the `N` tokens of a frame."""


class FrameRotation(nn.Module):
    """Turns of so many frames: `conditions` tokens, then ``side * side`` patches row by row."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, frames: int, side: int, head_dim: int, conditions: int) -> None:
        super().__init__()
        patch = torch.arange(side**2)
        # An action and a pose are in row 0 and column 0, where nothing is turned.
        token = [torch.cat([torch.zeros(conditions), place]) for place in (patch // side, patch % side)]
        frame = torch.arange(frames).repeat_interleave(len(token[0]))
        cosines, sines = turns((frame, *(place.repeat(frames) for place in token)), head_dim)
        self.register_buffer("cosines", torch.unflatten(cosines, 0, (frames, -1)), persistent=False)
        self.register_buffer("sines", torch.unflatten(sines, 0, (frames, -1)), persistent=False)

    def forward(self, frame: int) -> Turn:
        """That of a frame."""
        return self.cosines[frame], self.sines[frame]
