"""The `lewm` family: LeWorldModel (arXiv 2603.19312), as ``stable_worldmodel.wm.lewm`` defines and trains it.

    frames -> resize -> Encoder -> latents -> Predictor -> predicted latents -> squared distance to the goal's
                                                 ^
                       actions -> z-score -> ActionEncoder

A checkpoint is a ``config.json`` (:class:`LewmConfig`; it adds what a LeWM's own files do not say: units, bounds and
statistics of the actions) and the model's state dict as ``weights.safetensors``; ``adopting`` makes one of the formats
that its authors use.

A PLDM, as ``stable_worldmodel.wm.pldm`` defines it, is the same network trained with another loss: family `pldm`.

Axes: `B` batch, `T` context frames, `S` candidates, `H` model steps, `N = H x action_block` environment steps,
`A` action dimension, `D` latent dimension, `R` readouts.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmserve_export.families import CONFIG_FILE
from wmserve_export.families.images import reduce_frames
from wmserve_export.families.lewm.config import LewmConfig
from wmserve_export.families.lewm.encoder import Encoder
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.predictor import Predictor
from wmserve_export.families.lewm.weights import Weights, read


class ActionEncoder(nn.Module):
    """Actions of one model step -> the embedding that conditions the predictor."""

    def __init__(self, config: LewmConfig, weights: Weights) -> None:
        super().__init__()
        first = Affine.pointwise(weights, "action_encoder.patch_embed")
        scored = first.of_units(config.action.axes * config.action.action_block)
        self.first = Affine.linear(weights, "action_encoder.embed.0").after(scored).module()
        second = Affine.linear(weights, "action_encoder.embed.2")
        if config.predictor_width != config.latent_dim:
            second = Affine.linear(weights, "predictor.transformer.cond_proj").after(second)
        self.second = second.module()

    def forward(self, blocks: Tensor) -> Tensor:
        """Blocks `[..., action_block x A]`, environment units -> activated embeddings, as wide as the predictor."""
        return functional.silu(self.second(functional.silu(self.first(blocks))))


class Lewm(nn.Module):
    """A world of the `lewm` family."""

    def __init__(self, config: LewmConfig, weights: Weights) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, weights)
        self.action_encoder = ActionEncoder(config, weights)
        self.predictor = Predictor(config, weights)
        self.head = Affine.linear(weights, "readout").module() if config.readouts else None

    def encode(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[B, T, h, w, 3]` uint8 of any size -> latents `[B, T, D]`, and class tokens `[B, T, C]`."""
        latents, tokens = self.encoder(reduce_frames(observations.flatten(0, 1), self.config.image_size))
        return latents.unflatten(0, observations.shape[:2]), tokens.unflatten(0, observations.shape[:2])

    def readout(self, latents: Tensor) -> Tensor:
        """Latents `[..., D]` -> quantities `[..., R]` in the readouts' units."""
        return latents[..., :0] if self.head is None else self.head(latents)

    def predict(self, context: Tensor, actions: Tensor, members: int | None = None) -> Tensor:  # noqa: ARG002
        """Context `[B, T, D]` and actions `[B, S, (T - 1) x action_block + N, A]` -> latents `[B, S, 1, H, D]`."""
        known = self.config.context_length
        blocks = actions.reshape(*actions.shape[:2], -1, self.config.block_dim)
        # Candidates share the actions of the past, so one of them stands for all.
        embedded = [self.action_encoder(blocks[:, :1, step]) for step in range(known - 1)]
        embedded += [self.action_encoder(blocks[:, :, step]) for step in range(known - 1, blocks.shape[2])]
        frames = [context[:, None, frame] for frame in range(known)]
        return torch.stack(self.predictor(frames, embedded), dim=2).unsqueeze(2)

    def goal_distance(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Squared distances `[B, S, H]`, summed over `D`, of latents `[B, S, 1, H, D]` from goals `[B, D]`."""
        return (latents.squeeze(2) - goal[:, None, None]).square().sum(dim=-1)


def load(folder: Path) -> Lewm:
    """Read a checkpoint folder; safetensors only, nothing that runs code when read."""
    config = LewmConfig.model_validate_json((folder / CONFIG_FILE).read_text())
    return Lewm(config, read(folder, config)).eval()
