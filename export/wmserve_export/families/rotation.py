"""Rotary positions of V-JEPA 2 (arXiv 2506.09985): each attention head knows frame, row and column of a patch.

A head of `K` numbers has three parts of ``d = 2 * (K // 3 // 2)``, which turn with the patch's frame, its row and its
column, and a rest that does not turn. Neighbours in a part are a pair, and the pair `(x[2i], x[2i + 1])` becomes

    x[2i] cos(p w[2i]) - x[2i + 1] sin(p w[2i]),    x[2i + 1] cos(p w[2i + 1]) + x[2i] sin(p w[2i + 1])

where `p` is the position and ``w[j] = 10000 ** -((j mod d / 2) / (d / 2))``. So the two of a pair do not turn by the
same angle, as rotary positions should: the authors' code repeats the list of frequencies instead of its elements, and
their weights are trained with it (a note in their ``modules.py`` says so). It is kept.

Here the heads' numbers are reordered (:func:`halves`), first members of all pairs, then second: to exchange the
members of all pairs is to exchange two halves. Queries and keys are reordered alike, so no score changes.
"""

import torch
from torch import Tensor, nn

from wmserve_export.families.lewm.fusing import Affine

BASE = 10000.0


def halves(affine: Affine, heads: int) -> Affine:
    """Reorder the outputs of each head: first members of all pairs, then second."""
    order = pairs_apart(torch.arange(len(affine.bias)).reshape(heads, -1)).flatten()
    return Affine(affine.weight[order], affine.bias[order])


def pairs_apart(values: Tensor) -> Tensor:
    """`[..., K]` in pairs of neighbours -> `[..., K]`, first members of all pairs, then second."""
    return torch.unflatten(values, -1, (-1, 2)).transpose(-1, -2).flatten(-2)


class Rotation(nn.Module):
    """Turns queries or keys of all patches of a clip, frame by frame and row by row."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, frames: int, side: int, head_dim: int) -> None:
        super().__init__()
        patch = torch.arange(frames * side * side)
        cosines, sines = turns((patch // side**2, patch % side**2 // side, patch % side), head_dim)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(self, heads: Tensor) -> Tensor:
        """Reordered queries or keys `[..., N, K]` of all `N` patches, turned."""
        return rotated(heads, self.cosines, self.sines)


def rotated(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Reordered queries or keys `[..., N, K]`, turned by what :func:`turns` made of their places."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cosines + torch.cat([second, first], dim=-1) * sines


def turns(places: tuple[Tensor, ...], head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines `[N, K]` of tokens in frames, rows and columns, each `[N]`."""
    width = 2 * (head_dim // 3 // 2)
    rest = torch.zeros(len(places[0]), head_dim - 3 * width)
    angles = torch.cat([*(turned(place, width) for place in places), rest], dim=1)
    first_or_second = torch.tensor([-1.0, 1.0]).repeat(head_dim // 2)
    return pairs_apart(angles.cos()), pairs_apart(angles.sin() * first_or_second)


def turned(place: Tensor, width: int) -> Tensor:
    """Angles `[N, width]` of a part at places `[N]`."""
    frequencies = 1.0 / BASE ** (torch.arange(width // 2) / (width / 2))
    return (place[:, None] * frequencies).repeat(1, 2)
