"""The `vjepa2-ac` family: V-JEPA 2-AC (arXiv 2506.09985), which predicts what a robot's camera will see.

    frames -> resize -> Encoder -> layer norm -> latents of patches --+-> Predictor -> those of the next frame -> ...
    pose of the gripper (proprioception) ------------> its own row ---+                   `-> distance to the goal's
                                                                      |
                       actions: what is added to the pose ------------+-> next pose -> ...

It is the model of ``src/models/ac_predictor.py`` as ``notebooks/utils`` of the authors' code roll it out: each frame is
shown to the encoder twice, as a clip of its own; the predictor sees all frames, poses and actions so far; latents are
layer-normed without gain and shift, encoded or predicted; poses are integrated (`pose.py`).

**Latents** of a frame are `[P + 1, C]`: a row for each of the `P` patches, row by row of the image, and one more whose
first seven numbers are the gripper's pose and whose others are 0. Where latents are flat, ``D = (P + 1) * C``, the pose
begins at ``P * C``. Readouts give the pose, so that constraints may speak of the gripper's place; it is what actions
make of the measured one, and no network's guess.

**A goal** is a picture: distances leave the pose out.

Frames are resized whole to a square, antialiased. The authors cut a square out of the middle: a caller whose frames are
far from square does that first.

A checkpoint is a ``config.json`` (:class:`VJepa2AcConfig`) and ``weights.safetensors`` under the authors' names, with
``encoder.`` and ``predictor.`` before them; ``adopting`` makes one of theirs.

A rollout keeps the keys and values of earlier frames: at full size 51 MB for each candidate and frame in float32.

Axes: `B` batch, `T` context frames, `S` candidates, `H` model steps, `P` patches, `C` their width, `D` all of a frame.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmserve_export.families import CONFIG_FILE, FamilyError
from wmserve_export.families.images import reduce_frames
from wmserve_export.families.lewm.block import normalise
from wmserve_export.families.lewm.weights import Weights, read_fitting
from wmserve_export.families.vjepa2_ac.config import POSE, VJepa2AcConfig
from wmserve_export.families.vjepa2_ac.networks import LATENT_NORM_EPS, Encoder, Predictor
from wmserve_export.families.vjepa2_ac.weights import shapes


class VJepa2Ac(nn.Module):
    """A world of the `vjepa2-ac` family."""

    def __init__(self, config: VJepa2AcConfig, weights: Weights) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, weights)
        self.predictor = Predictor(config, weights)

    def encode(self, observations: Tensor, proprioception: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[B, T, h, w, 3]` uint8 and poses `[B, T, 7]` -> latents `[B, T, D]`, and features `[B, T, C]`.

        Features are what latents are the layer norm of, mean over patches.
        """
        encoded = self.encoder(reduce_frames(observations.flatten(0, 1), self.config.image_size))
        encoded = encoded.unflatten(0, observations.shape[:2])
        return self.joined(normalise(encoded, LATENT_NORM_EPS), proprioception), encoded.mean(dim=2)

    def readout(self, latents: Tensor) -> Tensor:
        """Latents `[..., D]` -> the pose `[..., 7]`."""
        return self.parted(latents)[1]

    def predict(self, context: Tensor, actions: Tensor, members: int | None = None) -> Tensor:
        """Context `[B, T, D]` and actions `[B, S, (T - 1) + H, 7]` -> latents `[B, S, 1, H, D]`."""
        del members  # there is one
        known, steps = self.config.context_length, actions.shape[2]
        if steps > self.config.frame_limit:
            raise FamilyError(f"the predictor sees at most {self.config.frame_limit} frames, these horizons {steps}")
        patches, poses = self.parted(context[:, None])
        # Candidates share the actions of the past, so one of them stands for all.
        shared = [actions[:, :1, step] for step in range(known - 1)]
        asked = [actions[:, :, step] for step in range(known - 1, steps)]
        path = self.predictor(list(patches.unbind(dim=2)), list(poses.unbind(dim=2)), [*shared, *asked])
        return torch.stack([self.joined(*frame) for frame in path], dim=2).unsqueeze(2)

    def goal_distance(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Mean absolute differences `[B, S, H]` of latents `[B, S, 1, H, D]` from goals `[B, D]`, poses left out."""
        size = self.config.patches * self.config.latent_dim
        return (latents.squeeze(2)[..., :size] - goal[:, None, None, :size]).abs().mean(dim=-1)

    def joined(self, patches: Tensor, pose: Tensor) -> Tensor:
        """Patches `[..., P, C]` and pose `[..., 7]` -> latents `[..., D]`."""
        row = functional.pad(pose, (0, self.config.latent_dim - len(POSE)))
        return torch.cat([patches.flatten(-2), row.expand(*patches.shape[:-2], -1)], dim=-1)

    def parted(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents `[..., D]` -> patches `[..., P, C]` and pose `[..., 7]`."""
        size = self.config.patches * self.config.latent_dim
        patches = torch.unflatten(latents[..., :size], -1, (self.config.patches, self.config.latent_dim))
        return patches, latents[..., size : size + len(POSE)]


def load(folder: Path) -> VJepa2Ac:
    """Read a checkpoint folder; safetensors only, nothing that runs code when read."""
    config = VJepa2AcConfig.model_validate_json((folder / CONFIG_FILE).read_text())
    return VJepa2Ac(config, read_fitting(folder, shapes(config))).eval()
