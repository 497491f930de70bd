"""A layer of the predictor, one frame at a time.

It is :class:`wmserve_export.families.vit.Layer` with a memory. Attention is full within a frame and causal across
frames: what a frame's keys and values are does not depend on frames that come later, so those of earlier frames are
kept and only the newest frame is computed.

Axes: `N` tokens of a frame, `W` width, `K` width of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wmserve_export.families.activations import FUNCTIONS, Activation
from wmserve_export.families.lewm.block import normalise
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.weights import Weights
from wmserve_export.families.rotation import halves, rotated
from wmserve_export.families.vit import LAYER_NORM_EPS, stacked
from wmserve_export.families.vjepa2_ac.rotation import Turn


@dataclass(frozen=True)
class Memory:
    """Keys, turned, and values `[..., heads, N, K]` of one block, frame by frame."""

    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()


class Linear(nn.Module):
    """A linear layer whose weight lies as ONNX multiplies by it, so that all steps of an unrolled graph share one."""

    weight: Tensor
    bias: Tensor

    def __init__(self, affine: Affine) -> None:
        super().__init__()
        self.register_buffer("weight", affine.weight.T.float().contiguous())
        self.register_buffer("bias", affine.bias.float())

    def forward(self, values: Tensor) -> Tensor:
        """`[..., inputs]` -> `[..., outputs]`."""
        return values @ self.weight + self.bias


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, weights: Weights, name: str, heads: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.heads, self.activation = heads, FUNCTIONS[activation]
        qkv = Affine.linear(weights, f"{name}.attn.qkv").after_norm(weights, f"{name}.norm1")
        width = len(qkv.bias) // 3
        query, key, value = (qkv.rows(part * width, (part + 1) * width) for part in range(3))
        query = halves(query * (width // heads) ** -0.5, heads)
        self.query_key_value = Linear(stacked([query, halves(key, heads), value]))
        self.out = Linear(Affine.linear(weights, f"{name}.attn.proj"))
        self.mlp_in = Linear(Affine.linear(weights, f"{name}.mlp.fc1").after_norm(weights, f"{name}.norm2"))
        self.mlp_out = Linear(Affine.linear(weights, f"{name}.mlp.fc2"))
        self.attended: Callable[[Tensor, Memory], Tensor] = attended

    def forward(self, tokens: Tensor, turn: Turn, memory: Memory) -> tuple[Tensor, Memory]:
        """Tokens `[..., N, W]` of the newest frame -> `[..., N, W]`, and the memory with it.

        Earlier frames that all candidates share have a 1 where the newest has the candidates' axis.
        """
        read = self.query_key_value(normalise(tokens, LAYER_NORM_EPS))
        wide = torch.unflatten(read, -1, (3 * self.heads, -1)).transpose(-3, -2)
        turning, value = torch.split(wide, [2 * self.heads, self.heads], dim=-3)
        query, key = rotated(turning, *turn).chunk(2, dim=-3)
        memory = Memory((*memory.keys, key), (*memory.values, value))
        tokens = tokens + self.out(self.attended(query, memory).transpose(-3, -2).flatten(-2))
        return tokens + self.mlp_out(self.activation(self.mlp_in(normalise(tokens, LAYER_NORM_EPS)))), memory


def attended(query: Tensor, memory: Memory) -> Tensor:
    """What queries `[..., heads, N, K]`, scaled, take from all that is remembered, in the same shape."""
    scores = torch.cat([query @ key.transpose(-1, -2) for key in memory.keys], dim=-1)
    shares = torch.softmax(scores, dim=-1).chunk(len(memory.keys), dim=-1)
    mixed = shares[0] @ memory.values[0]
    for share, value in zip(shares[1:], memory.values[1:], strict=True):
        mixed = mixed + share @ value
    return mixed
