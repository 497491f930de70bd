"""The backbone: Hugging Face's ``Dinov2Model`` as the reference uses it, the tokens of patches after its last norm.

The normalisation of pixels is part of the first layer, and gains of norms and scales of layers are part of the layers
beside them. Frames always have the native size, so positions were interpolated when the checkpoint was made.

Axes: `M` frames, `P` patches, `C` width of the backbone.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmserve_export.families.activations import FUNCTIONS
from wmserve_export.families.dino_wm.config import DinoWmConfig
from wmserve_export.families.images import patch_layer
from wmserve_export.families.lewm.block import normalise
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.weights import Weights


class Layer(nn.Module):
    """One pre-norm transformer layer, whose additions are scaled by learned factors."""

    def __init__(self, config: DinoWmConfig, weights: Weights, name: str) -> None:
        super().__init__()
        self.heads, self.eps = config.backbone_heads, config.backbone_norm_eps
        self.activation = FUNCTIONS[config.backbone_activation]
        self.query, self.key, self.value = (
            Affine.linear(weights, f"{name}.attention.attention.{part}").after_norm(weights, f"{name}.norm1").module()
            for part in ("query", "key", "value")
        )
        self.out = scaled(weights, f"{name}.attention.output.dense", f"{name}.layer_scale1").module()
        self.mlp_in = Affine.linear(weights, f"{name}.mlp.fc1").after_norm(weights, f"{name}.norm2").module()
        self.mlp_out = scaled(weights, f"{name}.mlp.fc2", f"{name}.layer_scale2").module()

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `[M, 1 + P, C]` -> the same shape."""
        read = normalise(tokens, self.eps)
        query, key, value = (self.split(part(read)) for part in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.mlp_out(self.activation(self.mlp_in(normalise(tokens, self.eps))))

    def split(self, wide: Tensor) -> Tensor:
        """`[M, 1 + P, C]` -> `[M, heads, 1 + P, C / heads]`."""
        return torch.unflatten(wide, -1, (self.heads, -1)).transpose(1, 2)


class Backbone(nn.Module):
    """Frames of the native size -> tokens of their patches."""

    positions: Tensor
    first_token: Tensor
    gain: Tensor
    shift: Tensor

    def __init__(self, config: DinoWmConfig, weights: Weights) -> None:
        super().__init__()
        self.eps = config.backbone_norm_eps
        positions = weights["backbone.embeddings.position_embeddings"].float()
        first = weights["backbone.embeddings.cls_token"].float() + positions[:, :1]
        self.register_buffer("first_token", first)
        self.register_buffer("positions", positions[:, 1:].clone())
        projection = "backbone.embeddings.patch_embeddings.projection"
        weight, bias = weights[f"{projection}.weight"], weights[f"{projection}.bias"]
        self.patches = patch_layer(weight, bias, config.pixel_mean, config.pixel_std)
        names = [f"backbone.encoder.layer.{index}" for index in range(config.backbone_depth)]
        self.layers = nn.ModuleList(Layer(config, weights, name) for name in names)
        self.register_buffer("gain", weights["backbone.layernorm.weight"].float())
        self.register_buffer("shift", weights["backbone.layernorm.bias"].float())

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels `[M, 3, h, w]` float32 in 0..255 -> tokens `[M, P, C]`, and `[M, C]`: their mean before that norm."""
        patches = self.patches(pixels).flatten(2).transpose(1, 2) + self.positions
        tokens = torch.cat([self.first_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = tokens[:, 1:]
        return normalise(tokens, self.eps) * self.gain + self.shift, tokens.mean(dim=1)


def scaled(weights: Weights, name: str, scale: str) -> Affine:
    """A linear layer and the factors `[C]` that follow it."""
    layer, by = Affine.linear(weights, name), weights[f"{scale}.lambda1"].double()
    return Affine(by[:, None] * layer.weight, by * layer.bias)
