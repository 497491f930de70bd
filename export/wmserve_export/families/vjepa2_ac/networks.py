"""Encoder and predictor: frames to latents of patches, and those of the next frame.

Axes: `B` batch, `S` candidates (1 where all share a frame), `P` patches, `C` width of their latents, `M` frames.
"""

import torch
from torch import Tensor, nn

from wmserve_export.families.images import patch_layer
from wmserve_export.families.lewm.block import normalise
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.weights import Weights
from wmserve_export.families.rotation import Rotation
from wmserve_export.families.vit import LAYER_NORM_EPS, Layer, norm_layer
from wmserve_export.families.vjepa2_ac.block import Block, Linear, Memory
from wmserve_export.families.vjepa2_ac.config import VJepa2AcConfig
from wmserve_export.families.vjepa2_ac.pose import integrate
from wmserve_export.families.vjepa2_ac.rotation import FrameRotation

LATENT_NORM_EPS = 1e-5
"""Of the norm without gain and shift that latents have, encoded or predicted (``world_model_wrapper.py``)."""


class Encoder(nn.Module):
    """Frames of the native size, each by itself -> latents."""

    def __init__(self, config: VJepa2AcConfig, weights: Weights) -> None:
        super().__init__()
        # A frame is shown twice: what the kernel does to the first and to the second adds up.
        kernel = weights["encoder.patch_embed.proj.weight"].double().sum(dim=2)
        bias = weights["encoder.patch_embed.proj.bias"]
        self.patches = patch_layer(kernel, bias, config.pixel_mean, config.pixel_std)
        self.rotation = Rotation(1, config.side, config.latent_dim // config.heads)
        self.layers = nn.ModuleList(
            Layer(weights, f"encoder.blocks.{index}", config.heads, LAYER_NORM_EPS, True, config.activation)
            for index in range(config.depth)
        )
        self.norm = norm_layer(weights, "encoder.norm", LAYER_NORM_EPS)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels `[M, 3, h, w]` float32 in 0..255 -> the encoder's output `[M, P, C]`, not yet what latents are."""
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens, self.rotation)
        encoded: Tensor = self.norm(tokens)
        return encoded


class Predictor(nn.Module):
    """Rolls frames and poses out along actions, as the reference does: every frame sees all before it."""

    def __init__(self, config: VJepa2AcConfig, weights: Weights) -> None:
        super().__init__()
        self.embed = Linear(Affine.linear(weights, "predictor.predictor_embed"))
        self.action = Linear(Affine.linear(weights, "predictor.action_encoder").of_units(config.action.axes))
        self.pose = None
        if config.knows_pose:
            self.pose = Linear(Affine.linear(weights, "predictor.state_encoder").of_units(config.proprioception))
        head_dim = config.predictor_dim // config.predictor_heads
        self.rotation = FrameRotation(config.frame_limit, config.side, head_dim, 1 + config.knows_pose)
        names = [f"predictor.predictor_blocks.{index}" for index in range(config.predictor_depth)]
        self.blocks = nn.ModuleList(Block(weights, name, config.predictor_heads, config.activation) for name in names)
        self.patches = config.patches
        out = Affine.linear(weights, "predictor.predictor_proj")
        self.out = Linear(out.after_norm(weights, "predictor.predictor_norm"))

    def forward(self, frames: list[Tensor], poses: list[Tensor], actions: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Latents `[B, S, P, C]` and pose `[B, S, 7]` after each action from the last frame of the context on.

        Frames of the context and poses at them, in the same shapes; actions `[B, S, 7]`, the first follows the first.
        """
        frames, poses, known = list(frames), list(poses), len(frames)
        memories = [Memory()] * len(self.blocks)
        for newest, action in enumerate(actions):
            seen, pose = self.embed(frames[newest]), poses[newest]
            if newest == known - 1:  # from here on candidates differ
                seen = seen.expand(-1, action.shape[1], -1, -1)
                pose = pose.expand(-1, action.shape[1], -1)
            tokens, turn = self.tokens(seen, pose, action), self.rotation(newest)
            for index, block in enumerate(self.blocks):
                tokens, memories[index] = block(tokens, turn, memories[index])
            if newest >= known - 1:
                predicted = self.out(normalise(tokens[..., -self.patches :, :], LAYER_NORM_EPS))
                frames.append(normalise(predicted, LATENT_NORM_EPS))
                poses.append(integrate(pose, action))
        return list(zip(frames[known:], poses[known:], strict=True))

    def tokens(self, seen: Tensor, pose: Tensor, action: Tensor) -> Tensor:
        """Action, pose and embedded patches of a frame, in this order, `[B, S, N, W]`."""
        conditions = [self.action(action)] if self.pose is None else [self.action(action), self.pose(pose)]
        return torch.cat([torch.stack(conditions, dim=-2), seen], dim=-2)
