"""I-JEPA as transformers has it."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from wmserve_export.families.facts import Facts
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD, Statistics
from wmserve_export.families.published import Published
from wmserve_export.pairs import Pairs
from wmserve_export.peers import hugging_face as hf
from wmserve_export.peers.building import load, prepared

UNUSED = ("classifier.", "pooler.", "embeddings.mask_token")


@dataclass(frozen=True)
class IJepaPeer:
    """An ``IJepaModel``."""

    model: Any
    side: int
    pixels: tuple[Statistics, Statistics]

    def answers(self, given: Pairs) -> Pairs:
        """Latents of the frames' patches."""
        assert given.observations is not None, "it looks at frames"
        pixels = prepared(given.observations.flatten(0, 1), self.pixels)
        with torch.inference_mode():
            latents = self.model(pixels).last_hidden_state.flatten(1)
        return replace(given, latents=latents.unflatten(0, given.observations.shape[:2]))


def build(family: str, source: Published, facts: Facts) -> IJepaPeer:
    """The package's model from a checkpoint's settings and tensors."""
    from transformers import IJepaConfig, IJepaModel

    tensors = hf.tensors_of(source, family)
    config = hf.configured(IJepaConfig, source)
    model = load(IJepaModel(config, add_pooling_layer=False), tensors, UNUSED)
    return IJepaPeer(model, config.image_size, source.pixels(facts, (IMAGENET_MEAN, IMAGENET_STD)))
