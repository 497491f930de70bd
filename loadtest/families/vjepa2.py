"""V-JEPA 2 as transformers has it, and what its authors train it for, put together of transformers' own modules."""

import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import VJEPA2Config, VJEPA2Model
from wmserve_export import families
from wmserve_export.families import published
from wmserve_export.families.vjepa2 import VJepa2
from wmserve_export.families.vjepa2.adopting import adopt

from loadtest.families.comparing import normalised, relative_error
from loadtest.families.random_weights import randomised

FRAMES = 16
HIDDEN_SHARE = 0.7


def run() -> dict[str, float]:
    """ViT-L: one clip of 16 frames at 256 pixels, encoded and filled."""
    model = randomised(VJEPA2Model(VJEPA2Config()))
    generator = torch.Generator().manual_seed(1)
    clip = torch.randint(0, 256, (1, FRAMES, 256, 256, 3), generator=generator, dtype=torch.uint8)
    hidden = (torch.rand(1, FRAMES // 2, 256, generator=generator) < HIDDEN_SHARE).to(torch.uint8)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        latents = encoded(model, clip)
        expected = filled(model, clip, hidden)
        reference_s = time.perf_counter() - began
        model.save_pretrained(f"{folder}/published")
        parameters = sum(parameter.numel() for parameter in model.parameters())
        del model
        world = adopted(Path(folder), FRAMES)
        began = time.perf_counter()
        ours = world.encode(clip)[0].reshape(latents.shape)
        encode_s = time.perf_counter() - began
        outputs = world.fill(clip, hidden)
        fill_s = time.perf_counter() - began - encode_s
    return {
        "parameters": parameters,
        "encode_error": relative_error(ours, latents),
        "fill_latents_error": relative_error(outputs[0].reshape(expected[0].shape), expected[0]),
        "fill_surprise_error": relative_error(outputs[1].reshape(expected[1].shape), expected[1]),
        "reference_encode_and_fill_s": reference_s,
        "encode_s": encode_s,
        "fill_s": fill_s,
    }


def adopted(folder: Path, context_length: int) -> VJepa2:
    """The world of ``folder/published``, by way of ``folder/adopted``."""
    facts = published.Facts(name="vjepa2_random", description="Random weights.", context_length=context_length)
    adopt("vjepa2", published.read(folder / "published"), facts, folder / "adopted")
    world = families.load(folder / "adopted")
    assert isinstance(world, VJepa2)
    return world


def encoded(model: VJEPA2Model, clips: Tensor) -> Tensor:
    """Latents `[B, N, C]` of clips `[B, T, h, w, 3]` uint8 of the native size."""
    return model.get_vision_features(normalised(clips))


def filled(model: VJEPA2Model, clips: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Latents `[B, N, C]` and surprise `[B, N]` of clips and what is hidden `[B, L, P]`, as in the authors' training.

    One clip after the other, since lists of indices of one batch are of one length; something must be hidden of each,
    and something not.
    """
    outputs = [filled_one(model, clip[None], away.flatten() > 0) for clip, away in zip(clips, hidden, strict=True)]
    latents, surprise = zip(*outputs, strict=True)
    return torch.cat(latents), torch.stack(surprise)


def filled_one(model: VJEPA2Model, clip: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Latents `[1, N, C]` and surprise `[N]` of a clip, of which the patches `hidden` `[N]` are hidden."""
    visible, away = torch.nonzero(~hidden).T, torch.nonzero(hidden).T
    tokens = model.encoder.embeddings(normalised(clip))[:, visible[0]]
    for layer in model.encoder.layer:
        tokens = layer(tokens, position_mask=visible)[0]
    seen = torch.zeros(1, len(hidden), tokens.shape[-1])
    seen[:, visible[0]] = model.encoder.layernorm(tokens)
    predicted = model.predictor(seen, context_mask=[visible], target_mask=[away]).last_hidden_state
    whole = encoded(model, clip)
    target = functional.layer_norm(whole, whole.shape[-1:])[:, away[0]]
    surprise = torch.zeros(len(hidden))
    surprise[away[0]] = (predicted - target).abs().mean(dim=-1)[0]
    seen[:, away[0]] = predicted
    return seen, surprise
