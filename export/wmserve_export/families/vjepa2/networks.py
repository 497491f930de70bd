"""Encoder and predictor of V-JEPA 2, for clips of one length and frames of one size.

Axes: `B` clips, `T` frames, `N` patches of all tubelets, frame by frame and row by row, `C` width of the encoder.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmserve_export.families.images import patch_layer
from wmserve_export.families.lewm.block import normalise
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.weights import Weights
from wmserve_export.families.rotation import Rotation
from wmserve_export.families.vit import HIDDEN, Layer, norm_layer
from wmserve_export.families.vjepa2.config import VJepa2Config

MASK_TOKEN = 1
"""Which of the mask tokens stands for what is hidden, modulo their number: the default of the authors' code and of
Hugging Face's, which has no other. In training each kind of masks had its own."""


class Encoder(nn.Module):
    """Clips -> latents of patches."""

    def __init__(self, config: VJepa2Config, weights: Weights) -> None:
        super().__init__()
        self.config = config
        # The authors' convolution has no overlap in time: over a tubelet's frames as channels, it is one in space.
        kernel = weights["encoder.patch_embed.proj.weight"].transpose(1, 2).flatten(1, 2)
        bias = weights["encoder.patch_embed.proj.bias"]
        self.patches = patch_layer(kernel, bias, config.pixel_mean, config.pixel_std)
        self.rotation = Rotation(config.tubelets, config.side, config.latent_dim // config.heads)
        self.layers = nn.ModuleList(
            Layer(weights, f"encoder.blocks.{index}", config.heads, config.layer_norm_eps, True, config.activation)
            for index in range(config.depth)
        )
        self.norm = norm_layer(weights, "encoder.norm", config.layer_norm_eps)

    def embed(self, pixels: Tensor) -> Tensor:
        """Pixels `[B x T, 3, h, w]` float32 in 0..255, of the native size -> embedded patches `[B, N, C]`."""
        tubelets = torch.unflatten(pixels, 0, (-1, self.config.tubelet_size)).flatten(1, 2)
        patches = self.patches(tubelets).flatten(2).transpose(1, 2)
        return patches.unflatten(0, (-1, self.config.tubelets)).flatten(1, 2)

    def forward(self, patches: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Embedded patches `[B, N, C]` -> what the last norm sees, `[B, N, C]`.

        Nobody attends to a patch that is `hidden`, `[B, N]` bool: others come out as if it were not there.
        """
        key_bias = None if hidden is None else HIDDEN * hidden[:, None, None].to(patches.dtype)
        for layer in self.layers:
            patches = layer(patches, self.rotation, key_bias)
        return patches


class Predictor(nn.Module):
    """Latents of what is seen -> latents of what is hidden, layer-normed."""

    mask_token: Tensor

    def __init__(self, config: VJepa2Config, weights: Weights) -> None:
        super().__init__()
        self.eps = config.layer_norm_eps
        self.embed = Affine.linear(weights, "predictor.predictor_embed").module()
        token = weights[f"predictor.mask_tokens.{MASK_TOKEN % config.mask_tokens}"]
        self.register_buffer("mask_token", token.float().clone())
        self.rotation = Rotation(config.tubelets, config.side, config.predictor_dim // config.predictor_heads)
        names = [f"predictor.predictor_blocks.{index}" for index in range(config.predictor_depth)]
        self.layers = nn.ModuleList(
            Layer(weights, name, config.predictor_heads, self.eps, True, config.activation) for name in names
        )
        out = Affine.linear(weights, "predictor.predictor_proj")
        self.out = out.after_norm(weights, "predictor.predictor_norm").module()

    def forward(self, latents: Tensor, hidden: Tensor) -> Tensor:
        """Latents `[B, N, C]`, not read where `hidden` `[B, N]` bool -> predictions `[B, N, C]`."""
        tokens = torch.where(hidden[..., None], self.mask_token, self.embed(latents))
        for layer in self.layers:
            tokens = layer(tokens, self.rotation)
        return self.out(normalise(tokens, self.eps))


def normalised_target(latents: Tensor) -> Tensor:
    """What the predictor learns to predict of a patch: its latents `[..., C]`, layer-normed without gain and shift."""
    return functional.layer_norm(latents, latents.shape[-1:])
