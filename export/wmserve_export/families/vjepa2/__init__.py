"""The `vjepa2` family: V-JEPA 2 (arXiv 2506.09985), which encodes clips and predicts what is hidden of them.

    frames -> resize to a square -> tubelets' patches -> Encoder -> latents, one of `C` for each patch
                                          |                                   (the whole clip)
                                          `-> Encoder, the visible alone -> Predictor -> what is hidden

It knows no actions: ``rollout`` is given a clip and what is hidden of it. As in training (``app/vjepa/train.py``), the
encoder sees of that clip what is visible and nothing else, the predictor gets its latents and mask tokens in the places
of the others, and what it predicts is held against the latents of the whole clip, layer-normed without gain and shift:
``surprise`` is the loss of the training, for each patch, mean over its features. Training reads the targets off a
moving average of the encoder; a published checkpoint has one encoder, which does both here.

Hugging Face's ``VJEPA2Model.forward`` differs: its encoder sees the whole clip, and its masks only choose among the
latents afterwards, into which what is hidden has already gone.

A checkpoint is a ``config.json`` (:class:`VJepa2Config`) and tensors as ``weights.safetensors``, under the names that
the authors' code gives them, ``encoder.`` and ``predictor.`` before them; ``adopting`` makes one of theirs or of those
of Hugging Face.

Frames are resized whole to a square, antialiased. The authors' evaluations cut one out of the middle: a caller whose
frames are far from square does that first.

Attention is over all patches of a clip: 16 frames of 256 pixels are 2048, 64 frames 8192, for which the scores of one
layer of 16 heads take 4.3 GB.

Axes: `B` clips, `T` frames, `L` tubelets, `P` patches of one, `N = L x P`, `C` width of a patch's latents, `D = P x C`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from wmserve_export.families import CONFIG_FILE
from wmserve_export.families.images import reduce_frames
from wmserve_export.families.lewm.weights import Weights, read_fitting
from wmserve_export.families.vjepa2.config import VJepa2Config
from wmserve_export.families.vjepa2.networks import Encoder, Predictor, normalised_target
from wmserve_export.families.vjepa2.weights import shapes


class VJepa2(nn.Module):
    """A world of the `vjepa2` family."""

    def __init__(self, config: VJepa2Config, weights: Weights) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, weights)
        self.predictor = Predictor(config, weights)

    def encode(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """A clip `[B, T, h, w, 3]` uint8 of frames of any size -> latents `[B, L, D]`, and features `[B, L, C]`.

        Features are what the last norm sees, mean over patches.
        """
        tokens = self.encoder(self.embed(observations))
        return self.by_tubelet(self.encoder.norm(tokens)).flatten(2), self.by_tubelet(tokens).mean(dim=2)

    def fill(self, observations: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """A clip `[B, T, h, w, 3]` uint8 and what is hidden of it `[B, L, P]` uint8, 1 where hidden.

        -> latents `[B, L, D]` and surprise `[B, L, P]`, 0 where nothing is hidden. Latents are the predictor's where
        hidden, and those are of layer-normed latents; elsewhere the encoder's, which has seen what is visible.
        """
        patches, away = self.embed(observations), hidden.flatten(1) > 0
        seen = self.encoder.norm(self.encoder(patches, away))
        predicted = self.predictor(seen, away)
        target = normalised_target(self.encoder.norm(self.encoder(patches)))
        latents = torch.where(away[..., None], predicted, seen)
        surprise = (predicted - target).abs().mean(dim=-1) * away
        return self.by_tubelet(latents).flatten(2), self.by_tubelet(surprise)

    def embed(self, observations: Tensor) -> Tensor:
        """Embedded patches `[B, N, C]` of a clip."""
        return self.encoder.embed(reduce_frames(observations.flatten(0, 1), self.config.image_size))

    def by_tubelet(self, values: Tensor) -> Tensor:
        """`[B, N, ...]` -> `[B, L, P, ...]`."""
        return torch.unflatten(values, 1, (self.config.tubelets, -1))

    def readout(self, latents: Tensor) -> Tensor:
        """Latents `[..., D]` -> `[..., 0]`: nothing is read from them."""
        return latents[..., :0]


def load(folder: Path) -> VJepa2:
    """Read a checkpoint folder; safetensors only, nothing that runs code when read."""
    config = VJepa2Config.model_validate_json((folder / CONFIG_FILE).read_text())
    return VJepa2(config, read_fitting(folder, shapes(config))).eval()
