"""The encoder: Hugging Face's ViT as the reference uses it, its class token, and the projection to latents.

Only the class token of the last layer is read, so its queries are the last layer's only ones. The normalisation of
pixels, by ImageNet's statistics as in the reference's training, is part of the first layer. Frames always have the
native size, so positions are never interpolated.

Axes: `M` frames, `P` tokens (the class token and the patches), `D` latent dimension.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmserve_export.families.images import patch_layer
from wmserve_export.families.lewm.config import LewmConfig
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.weights import Weights

LAYER_NORM_EPS = 1e-12


def normalise(tokens: Tensor) -> Tensor:
    """Layer norm over `D` without gain and shift."""
    return functional.layer_norm(tokens, tokens.shape[-1:], eps=LAYER_NORM_EPS)


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: LewmConfig, weights: Weights, name: str) -> None:
        super().__init__()
        self.heads = config.encoder_heads
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
        """Tokens `[M, P, D]` -> `[M, P, D]`, or `[M, 1, D]` where only the first token is wanted."""
        read = normalise(tokens)
        if first_only:
            tokens = tokens[:, :1]
        query, key, value = self.query(read[:, :1] if first_only else read), self.key(read), self.value(read)
        mixed = functional.scaled_dot_product_attention(self.split(query), self.split(key), self.split(value))
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.mlp_out(functional.gelu(self.mlp_in(normalise(tokens))))

    def split(self, wide: Tensor) -> Tensor:
        """`[M, P, D]` -> `[M, heads, P, D / heads]`."""
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
        self.patches = patch_layer(weights[f"{projection}.weight"], weights[f"{projection}.bias"])
        names = [f"encoder.encoder.layer.{index}" for index in range(config.encoder_depth)]
        self.layers = nn.ModuleList(Layer(config, weights, name) for name in names)
        project = Affine.linear(weights, "projector.net.0").after_norm(weights, "encoder.layernorm")
        self.project_in = project.before_batch_norm(weights, "projector.net.1").module()
        self.project_out = Affine.linear(weights, "projector.net.3").module()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels `[M, 3, h, w]` float32 in 0..255, of the native size -> latents `[M, D]`, class tokens `[M, D]`."""
        patches = self.patches(pixels).flatten(2).transpose(1, 2) + self.positions
        tokens = torch.cat([self.first_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        for index, layer in enumerate(self.layers):
            tokens = layer(tokens, first_only=index == len(self.layers) - 1)
        token = normalise(tokens[:, 0])
        return self.project_out(functional.gelu(self.project_in(token))), token
