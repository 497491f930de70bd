"""The `dino-wm` family: DINO-WM (arXiv 2411.04983), as ``stable_worldmodel.wm.prejepa`` and its authors define it.

    frames -> resize -> Backbone (DINOv2) -> patches ─┐
                                                      ├─ latents -> Predictor -> predicted latents -> difference from
    proprioception -> z-score -> linear -> at each ───┘                ^                              the goal's
                              actions -> z-score -> linear -> at each ─┘

Latents of a frame are those of its patches, each with the frame's embedded proprioception, if the world has any. What
is done after a frame is concatenated to its patches, too, but inside the predictor: it is no part of what was observed.
Features, by which strange frames are known, are the mean of the patches' tokens before the backbone's last norm.

A checkpoint is a ``config.json`` (:class:`DinoWmConfig`) and a ``weights.safetensors``; ``adopting`` makes one of the
formats that its authors use.

Axes: `B` batch, `T` context frames, `S` candidates, `H` model steps, `N = H x action_block` environment steps,
`A` action dimension, `P` patches, `D` latent dimension, `Q` proprioception.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from wmserve.world import Axis

from wmserve_export.families import CONFIG_FILE
from wmserve_export.families.dino_wm.backbone import Backbone
from wmserve_export.families.dino_wm.config import DinoWmConfig, Embedding
from wmserve_export.families.dino_wm.predictor import Predictor
from wmserve_export.families.dino_wm.weights import shapes
from wmserve_export.families.images import reduce_frames
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.weights import Weights, read_fitting


class DinoWm(nn.Module):
    """A world of the `dino-wm` family."""

    def __init__(self, config: DinoWmConfig, weights: Weights) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config, weights)
        self.predictor = Predictor(config, weights)
        repeated = config.action.axes * config.action.action_block
        self.action_encoder = embedding(config.done, repeated, weights)
        sensed, axes = [], list(config.proprioception)
        for part in config.sensed:
            sensed.append(embedding(part, tuple(axes[: part.inputs]), weights))
            axes = axes[part.inputs :]
        self.proprioception_encoders = nn.ModuleList(sensed)

    def encode(self, *observed: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[B, T, h, w, 3]` uint8 of any size, and proprioception `[B, T, Q]` if the world has any.

        -> latents `[B, T, D]` and features `[B, T, F]`
        """
        frames, pixels = observed[0].shape[:2], observed[0].flatten(0, 1)
        tokens, features = self.backbone(reduce_frames(pixels, self.config.resized_from, self.config.image_size))
        parts = [torch.unflatten(tokens, 0, frames)]
        if self.config.proprioception:
            sizes = [part.inputs for part in self.config.sensed]
            for encoder, values in zip(
                self.proprioception_encoders, torch.split(observed[1], sizes, dim=-1), strict=True
            ):
                parts.append(encoder(values).unsqueeze(2).expand(-1, -1, self.config.patches, -1))
        return torch.cat(parts, dim=-1).flatten(2), torch.unflatten(features, 0, frames)

    def readout(self, latents: Tensor) -> Tensor:
        """No quantities: `[..., D]` -> `[..., 0]`."""
        return latents[..., :0]

    def predict(self, context: Tensor, actions: Tensor, members: int | None = None) -> Tensor:  # noqa: ARG002
        """Context `[B, T, D]` and actions `[B, S, (T - 1) x action_block + N, A]` -> latents `[B, S, 1, H, D]`."""
        past = self.config.context_length - 1
        blocks = actions.reshape(*actions.shape[:2], -1, self.config.block_dim)
        # Candidates share the actions of the past, so one of them stands for all.
        before = [self.action_encoder(blocks[:, 0, step]) for step in range(past)]
        after = [self.action_encoder(blocks[:, :, step]) for step in range(past, blocks.shape[2])]
        frames = [self.patches(context[:, frame]) for frame in range(past + 1)]
        path = torch.stack(self.predictor(frames, before, after), dim=1)
        return torch.unflatten(path.flatten(2), 0, actions.shape[:2]).unsqueeze(2)

    def goal_distance(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Differences `[B, S, H]` of latents `[B, S, 1, H, D]` from goals `[B, D]`, squared and averaged.

        The mean over the pixels' features, plus `proprioception_weight` times that over each part of the embedded
        proprioception.
        """
        squared = self.patches(latents.squeeze(2) - goal[:, None, None]).square()
        widths = [self.config.backbone_dim, *(part.width for part in self.config.sensed)]
        pixels, *sensed = torch.split(squared, widths, dim=-1)
        distance = pixels.mean(dim=(-2, -1))
        for part in sensed if self.config.proprioception_weight else ():
            read = part[..., :1, :] if self.config.proprioception_patches == "first" else part
            distance = distance + self.config.proprioception_weight * read.mean(dim=(-2, -1))
        return distance

    def patches(self, latents: Tensor) -> Tensor:
        """Latents `[..., D]` -> `[..., P, C]`."""
        return torch.unflatten(latents, -1, self.config.latent_shape)


def embedding(part: Embedding, axes: tuple[Axis, ...], weights: Weights) -> nn.Linear:
    """Values in environment units `[..., inputs]` -> their embedding `[..., width]`: z-scored, then a linear map."""
    return Affine.pointwise(weights, f"extra_encoders.{part.name}.patch_embed").of_units(axes).module()


def load(folder: Path) -> DinoWm:
    """Read a checkpoint folder; safetensors only, nothing that runs code when read."""
    config = DinoWmConfig.model_validate_json((folder / CONFIG_FILE).read_text())
    return DinoWm(config, read_fitting(folder, shapes(config))).eval()
