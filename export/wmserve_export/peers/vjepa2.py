"""V-JEPA 2 as transformers has it, and what its authors train it for, put together of transformers' own modules."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from wmserve_export.families.facts import Facts
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD, Statistics
from wmserve_export.families.published import Published
from wmserve_export.pairs import Pairs
from wmserve_export.peers import hugging_face as hf
from wmserve_export.peers.building import load, prepared

UNUSED = ("classifier.", "pooler.")


@dataclass(frozen=True)
class VJepa2Peer:
    """A ``VJEPA2Model``."""

    model: Any
    side: int
    pixels: tuple[Statistics, Statistics]

    def answers(self, given: Pairs) -> Pairs:
        """Latents of the clips' patches, and of clips of which something is hidden."""
        assert given.observations is not None, "it looks at frames"
        assert given.hidden is not None, "and fills what is hidden"
        clips, shape = prepared(given.observations, self.pixels), given.hidden.shape[:2]
        with torch.inference_mode():
            latents = self.model.get_vision_features(clips)
            filled = [
                filled_one(self.model, clip[None], away.flatten() > 0)[0]
                for clip, away in zip(clips, given.hidden, strict=True)
            ]
        return replace(given, latents=latents.reshape(*shape, -1), predicted=torch.cat(filled).reshape(*shape, -1))


def build(family: str, source: Published, facts: Facts) -> VJepa2Peer:
    """The package's model from a checkpoint's settings and tensors."""
    from transformers import VJEPA2Config, VJEPA2Model

    tensors = hf.tensors_of(source, family)
    config = hf.configured(VJEPA2Config, source)
    model = load(VJEPA2Model(config), tensors, UNUSED)
    side = facts.image_size or config.crop_size
    return VJepa2Peer(model, side, source.pixels(facts, (IMAGENET_MEAN, IMAGENET_STD)))


def filled_one(model: Any, clip: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Latents `[1, N, C]` and surprise `[N]` of a clip `[1, T, 3, h, w]`, of which patches `hidden` `[N]` are hidden.

    As in the authors' training: something must be hidden, and something not.
    """
    visible, away = torch.nonzero(~hidden).T, torch.nonzero(hidden).T
    tokens = model.encoder.embeddings(clip)[:, visible[0]]
    for layer in model.encoder.layer:
        tokens = layer(tokens, position_mask=visible)[0]
    seen = torch.zeros(1, len(hidden), tokens.shape[-1])
    seen[:, visible[0]] = model.encoder.layernorm(tokens)
    predicted = model.predictor(seen, context_mask=[visible], target_mask=[away]).last_hidden_state
    whole = model.get_vision_features(clip)
    target = functional.layer_norm(whole, whole.shape[-1:])[:, away[0]]
    surprise = torch.zeros(len(hidden))
    surprise[away[0]] = (predicted - target).abs().mean(dim=-1)[0]
    seen[:, away[0]] = predicted
    return seen, surprise
