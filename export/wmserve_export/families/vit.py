"""Layers of the vision transformers that I-JEPA and V-JEPA 2 share, under the names that their authors' code gives.

    tokens -> norm1 -> attn.qkv -> attention -> attn.proj -> + tokens -> norm2 -> mlp.fc1 -> activation -> mlp.fc2 -> +

Axes: `M` images or clips, `N` patches, `C` width, `K` width of one attention head.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmserve_export.families import FamilyError
from wmserve_export.families.activations import FUNCTIONS, Activation, activation
from wmserve_export.families.lewm.block import normalise
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.weights import Shapes, Weights, linear, norm
from wmserve_export.families.published import Published
from wmserve_export.families.rotation import Rotation, halves

HIDDEN = -3e4
"""Added to the scores of what nobody may attend to: its share is 0, in 16 bits too, and yet no softmax over nothing."""
LAYER_NORM_EPS = 1e-6
"""In the code of both projects (``src/models/vision_transformer.py``)."""


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(
        self,
        weights: Weights,
        name: str,
        heads: int,
        eps: float,
        rotated: bool = False,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        self.heads, self.eps, self.activation = heads, eps, FUNCTIONS[activation]
        qkv = Affine.linear(weights, f"{name}.attn.qkv").after_norm(weights, f"{name}.norm1")
        width = len(qkv.bias) // 3
        query, key, value = (qkv.rows(part * width, (part + 1) * width) for part in range(3))
        if rotated:
            query, key = halves(query, heads), halves(key, heads)
        self.qkv = stacked([query, key, value]).module()
        self.out = Affine.linear(weights, f"{name}.attn.proj").module()
        self.mlp_in = Affine.linear(weights, f"{name}.mlp.fc1").after_norm(weights, f"{name}.norm2").module()
        self.mlp_out = Affine.linear(weights, f"{name}.mlp.fc2").module()

    def forward(self, tokens: Tensor, rotation: Rotation | None = None, key_bias: Tensor | None = None) -> Tensor:
        """Tokens `[M, N, C]` -> `[M, N, C]`; `key_bias` `[M, 1, 1, N]` is added to the scores of all heads."""
        parts = self.qkv(normalise(tokens, self.eps)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind()
        if rotation is not None:
            query, key = rotation(query), rotation(key)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=key_bias)
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.mlp_out(self.activation(self.mlp_in(normalise(tokens, self.eps))))


def stacked(parts: Iterable[Affine]) -> Affine:
    """One map with the outputs of all parts."""
    weights, biases = zip(*((part.weight, part.bias) for part in parts), strict=True)
    return Affine(torch.cat(weights), torch.cat(biases))


def norm_layer(weights: Weights, name: str, eps: float) -> nn.LayerNorm:
    """A layer norm of the checkpoint."""
    layer = nn.LayerNorm(len(weights[f"{name}.weight"]), eps=eps)
    layer.load_state_dict({part: weights[f"{name}.{part}"] for part in ("weight", "bias")})
    return layer.requires_grad_(False)


def layer_shapes(name: str, width: int, mlp_width: int, qkv_bias: bool) -> Shapes:
    """Names and shapes of a layer's tensors."""
    shapes = {
        **norm(f"{name}.norm1", width),
        **linear(f"{name}.attn.qkv", width, 3 * width),
        **linear(f"{name}.attn.proj", width, width),
        **norm(f"{name}.norm2", width),
        **linear(f"{name}.mlp.fc1", width, mlp_width),
        **linear(f"{name}.mlp.fc2", mlp_width, width),
    }
    if not qkv_bias:
        del shapes[f"{name}.attn.qkv.bias"]
    return shapes


def fused_qkv(weights: Weights) -> dict[str, Tensor]:
    """Put ``query``, ``key`` and ``value``, which Hugging Face keeps apart, together as ``qkv``."""
    fused = {name: tensor.contiguous() for name, tensor in weights.items() if not is_part(name)}
    for name in weights:
        module, _, kind = name.rpartition(".")
        if module.endswith("attn.query"):
            parts = [f"{module.removesuffix('query')}{part}.{kind}" for part in ("query", "key", "value")]
            if missing := [part for part in parts if part not in weights]:
                raise FamilyError(f"the checkpoint lacks {missing[0]}; is it of this family?")
            fused[f"{module.removesuffix('query')}qkv.{kind}"] = torch.cat([weights[part] for part in parts])
    return fused


def is_part(name: str) -> bool:
    """Whether it is a tensor of ``query``, ``key`` or ``value``."""
    return name.rpartition(".")[0].endswith(("attn.query", "attn.key", "attn.value"))


def epsilon(source: Published, usual: float = LAYER_NORM_EPS) -> float:
    """Of the layer norms: that of the settings, else the usual one, that of the authors' code."""
    return source.positive(usual, "layer_norm_eps")


def activation_of(source: Published) -> Activation:
    """Of the MLPs: that of the settings, else that of the authors' code; FamilyError where it cannot be exported."""
    said = source.setting("hidden_act")
    return "gelu" if said is None else activation(said, "hidden_act")
