"""One AdaLN-zero block of the predictor, for one frame at a time; what is saved here is said in `predictor.py`.

Axes: `B` batch, `S` candidates (1 where all share a frame), `D` width of the block, `K` that of one attention head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmserve_export.families.lewm.config import LewmConfig
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.weights import LAYER_NORM_EPS, Weights

MODULATED_NORM_EPS = 1e-6
"""Of the norms whose output AdaLN shifts and scales."""


@dataclass(frozen=True)
class Modulation:
    """What one action does to one block: each `[B, S, D]`, the scales with 1 added."""

    shift: Tensor
    scale: Tensor
    gate: Tensor
    mlp_shift: Tensor
    mlp_scale: Tensor
    mlp_gate: Tensor


@dataclass(frozen=True)
class Memory:
    """What one block remembers of a window; keys and values `[B, S, heads, K]` are later frames' less the first's."""

    first: Tensor
    """Normalised inputs of the first frame, `[B, S, D]`."""
    first_output: Tensor
    """What attention to the first frame alone gives, `[B, S, D]`."""
    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the frame's action."""

    def __init__(self, config: LewmConfig, weights: Weights, name: str) -> None:
        super().__init__()
        width, self.head_dim = config.attention_width, config.predictor_head_dim
        qkv = Affine.linear(weights, f"{name}.attn.to_qkv").after_norm(weights, f"{name}.attn.norm")
        # Of one head as wide as the block the reference leaves this layer out.
        out = Affine.linear(weights, f"{name}.attn.to_out.0") if config.attention_projected else Affine.same(width)
        self.query = (qkv.rows(0, width) * self.head_dim**-0.5).module()
        self.key_value = qkv.rows(width, 3 * width).module(bias=False)
        self.first_out = out.after(qkv.rows(2 * width, 3 * width)).module()
        self.out = out.module(bias=False)
        self.mlp_in = Affine.linear(weights, f"{name}.mlp.net.1").after_norm(weights, f"{name}.mlp.net.0").module()
        self.mlp_out = Affine.linear(weights, f"{name}.mlp.net.4").module()
        one = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0]).repeat_interleave(config.predictor_width)
        self.modulation = Affine.linear(weights, f"{name}.adaLN_modulation.1").plus(one).module()

    def modulate(self, action: Tensor) -> Modulation:
        """Activated action embedding `[B, S, D]` -> shifts, scales and gates."""
        return Modulation(*self.modulation(action).chunk(6, dim=-1))

    def normalised(self, latents: Tensor, by: Modulation) -> Tensor:
        """What attention reads of a frame, `[B, S, D]`."""
        return modulated_norm(latents, by.scale, by.shift)

    def remember(self, memory: Memory | None, normalised: Tensor) -> Memory:
        """Add a frame to a window's memory, or begin one with it."""
        if memory is None:
            return Memory(normalised, self.first_out(normalised))
        key, value = self.split(self.key_value(normalised - memory.first)).chunk(2, dim=-2)
        return Memory(memory.first, memory.first_output, (*memory.keys, key), (*memory.values, value))

    def attend(self, memory: Memory, normalised: Tensor) -> Tensor:
        """What the newest frame of a window takes from all of it, `[B, S, D]`."""
        if not memory.keys:
            return memory.first_output
        # At most two products: written out, they cost less than batched matrix products of one row.
        query = self.split(self.query(normalised))
        shares = shares_beside_zero([(query * key).sum(dim=-1, keepdim=True) for key in memory.keys])
        mixed = shares[0] * memory.values[0]
        for share, value in zip(shares[1:], memory.values[1:], strict=True):
            mixed = mixed + share * value
        return memory.first_output + self.out(mixed.flatten(-2))

    def forward(self, latents: Tensor, attended: Tensor, by: Modulation) -> Tensor:
        """Add attention and MLP to a frame's latents `[B, S, D]`."""
        latents = latents + by.gate * attended
        read = modulated_norm(latents, by.mlp_scale, by.mlp_shift)
        return latents + by.mlp_gate * self.mlp_out(functional.gelu(self.mlp_in(read)))

    def split(self, wide: Tensor) -> Tensor:
        """`[B, S, heads x K]` -> `[B, S, heads, K]`."""
        return torch.unflatten(wide, -1, (-1, self.head_dim))


def normalise(latents: Tensor, eps: float) -> Tensor:
    """Layer norm over `D` without gain and shift: those are part of the layer that follows."""
    return functional.layer_norm(latents, latents.shape[-1:], eps=eps)


def modulated_norm(latents: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The norm that AdaLN modulates, and the one that attention and MLP begin with."""
    return normalise(normalise(latents, MODULATED_NORM_EPS) * scale + shift, LAYER_NORM_EPS)


def shares_beside_zero(scores: list[Tensor]) -> list[Tensor]:
    """Softmax weights of `scores`, each `[..., 1]`, beside one more score that is 0."""
    if len(scores) == 1:
        return [torch.sigmoid(scores[0])]
    padded = functional.pad(torch.cat(scores, dim=-1), (1, 0))
    return list(torch.softmax(padded, dim=-1).chunk(padded.shape[-1], dim=-1)[1:])
