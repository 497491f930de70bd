"""I-JEPA as transformers has it."""

import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from transformers import IJepaConfig, IJepaModel
from wmserve_export import families
from wmserve_export.families import Encoder, published
from wmserve_export.families.ijepa.adopting import adopt

from loadtest.families.comparing import normalised, relative_error
from loadtest.families.random_weights import randomised

VIT_H_14 = {
    "hidden_size": 1280,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "intermediate_size": 5120,
    "layer_norm_eps": 1e-6,
    "patch_size": 14,
}


def run() -> dict[str, float]:
    """ViT-H/14: one frame of 224 pixels, encoded."""
    model = randomised(IJepaModel(IJepaConfig(**VIT_H_14)))
    frames = torch.randint(0, 256, (1, 1, 224, 224, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        latents = encoded(model, frames[:, 0])
        reference_s = time.perf_counter() - began
        model.save_pretrained(f"{folder}/published")
        parameters = sum(parameter.numel() for parameter in model.parameters())
        del model
        world = adopted(Path(folder))
        began = time.perf_counter()
        ours = world.encode(frames)[0].reshape(latents.shape)
        encode_s = time.perf_counter() - began
    return {
        "parameters": parameters,
        "encode_error": relative_error(ours, latents),
        "reference_encode_s": reference_s,
        "encode_s": encode_s,
    }


def adopted(folder: Path) -> Encoder:
    """The world of ``folder/published``, by way of ``folder/adopted``."""
    facts = published.Facts(name="ijepa_random", description="Random weights.")
    adopt("ijepa", published.read(folder / "published"), facts, folder / "adopted")
    return families.load(folder / "adopted")


def encoded(model: IJepaModel, frames: Tensor) -> Tensor:
    """Latents `[B, N, C]` of frames `[B, h, w, 3]` uint8 of the native size."""
    return model(normalised(frames)).last_hidden_state
