"""The encoder: Hugging Face's ViT as the reference uses it, its class token, and the projection to latents.

Only the class token of the last layer is read, so its queries are the last layer's only ones. The normalisation of
pixels is part of the first layer. Frames always have the native size, so positions were interpolated, where they had to
be, when the checkpoint was made.

Axes: `M` frames, `P` tokens (the class token and the patches), `C` width of the encoder, `D` latent dimension.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmserve_export.families.activations import FUNCTIONS
from wmserve_export.families.images import patch_layer
from wmserve_export.families.lewm.block import normalise
from wmserve_export.families.lewm.config import LewmConfig
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.projection import Projector
from wmserve_export.families.lewm.weights import Weights

NORM = "encoder.layernorm"


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: LewmConfig, weights: Weights, name: str) -> None:
        super().__init__()
        self.heads, self.eps = config.encoder_heads, config.encoder_norm_eps
        self.activation = FUNCTIONS[config.encoder_activation]
        attention = f"{name}.attention.attention"
        query, key, value = (
            Affine.linear(weights, f"{attention}.{part}").after_norm(weights, f"{name}.layernorm_before").module()
            for part in ("query", "key", "value")
        )
        self.query, self.key, self.value = query, key, value
        self.out = Affine.linear(weights, f"{name}.attention.output.dense").module()
        mlp_in = Affine.linear(weights, f"{name}.intermediate.dense")
        self.mlp_in = mlp_in.after_norm(weights, f"{name}.layernorm_after").module()
        self.mlp_out = Affine.linear(weights, f"{name}.output.dense").module()

    def forward(self, tokens: Tensor, first_only: bool) -> Tensor:
        """Tokens `[M, P, C]` -> `[M, P, C]`, or `[M, 1, C]` where only the first token is wanted."""
        read = normalise(tokens, self.eps)
        if first_only:
            tokens = tokens[:, :1]
        query, key, value = self.query(read[:, :1] if first_only else read), self.key(read), self.value(read)
        mixed = functional.scaled_dot_product_attention(self.split(query), self.split(key), self.split(value))
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.mlp_out(self.activation(self.mlp_in(normalise(tokens, self.eps))))

    def split(self, wide: Tensor) -> Tensor:
        """`[M, P, C]` -> `[M, heads, P, C / heads]`."""
        return torch.unflatten(wide, -1, (self.heads, -1)).transpose(1, 2)


class Encoder(nn.Module):
    """Frames of the native size -> latents."""

    positions: Tensor
    first_token: Tensor

    def __init__(self, config: LewmConfig, weights: Weights) -> None:
        super().__init__()
        embeddings = "encoder.embeddings"
        positions = weights[f"{embeddings}.position_embeddings"].float()
        self.register_buffer("first_token", weights[f"{embeddings}.cls_token"].float() + positions[:, :1])
        self.register_buffer("positions", positions[:, 1:].clone())
        projection = f"{embeddings}.patch_embeddings.projection"
        weight, bias = weights[f"{projection}.weight"], weights[f"{projection}.bias"]
        self.patches = patch_layer(weight, bias, config.pixel_mean, config.pixel_std)
        names = [f"encoder.encoder.layer.{index}" for index in range(config.encoder_depth)]
        self.layers = nn.ModuleList(Layer(config, weights, name) for name in names)
        self.project = Projector(config.projector, weights, "projector.net", Affine.same(config.encoder_width), NORM)
        self.eps = config.encoder_norm_eps

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels `[M, 3, h, w]` float32 in 0..255, of the native size -> latents `[M, D]`, class tokens `[M, C]`."""
        patches = self.patches(pixels).flatten(2).transpose(1, 2) + self.positions
        tokens = torch.cat([self.first_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        for index, layer in enumerate(self.layers):
            tokens = layer(tokens, first_only=index == len(self.layers) - 1)
        token = normalise(tokens[:, 0], self.eps)
        return self.project(token), token
