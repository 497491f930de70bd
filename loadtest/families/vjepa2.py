"""V-JEPA 2 as transformers has it, and what its authors train it for, put together of transformers' own modules."""

import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from transformers import VJEPA2Config, VJEPA2Model
from wmserve_export.families import published
from wmserve_export.families.vjepa2 import VJepa2
from wmserve_export.peers.vjepa2 import filled_one

from loadtest.families import adopting
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
        began = time.process_time()
        latents = encoded(model, clip)
        expected = filled(model, clip, hidden)
        reference_cpu_s = time.process_time() - began
        model.save_pretrained(f"{folder}/published")
        parameters = sum(parameter.numel() for parameter in model.parameters())
        del model
        world = adopted(Path(folder), FRAMES)
        began = time.process_time()
        ours = world.encode(clip)[0].reshape(latents.shape)
        encode_cpu_s = time.process_time() - began
        outputs = world.fill(clip, hidden)
        fill_cpu_s = time.process_time() - began - encode_cpu_s
    return {
        "parameters": parameters,
        "encode_error": relative_error(ours, latents),
        "fill_latents_error": relative_error(outputs[0].reshape(expected[0].shape), expected[0]),
        "fill_surprise_error": relative_error(outputs[1].reshape(expected[1].shape), expected[1]),
        "reference_encode_and_fill_cpu_s": reference_cpu_s,
        "encode_cpu_s": encode_cpu_s,
        "fill_cpu_s": fill_cpu_s,
    }


def adopted(folder: Path, context_length: int) -> VJepa2:
    """The world of ``folder/published``."""
    facts = published.Facts(name="vjepa2_random", description="Random weights.", context_length=context_length)
    world = adopting.adopted("vjepa2", folder / "published", facts)
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
    pairs = zip(normalised(clips), hidden, strict=True)
    outputs = [filled_one(model, clip[None], away.flatten() > 0) for clip, away in pairs]
    latents, surprise = zip(*outputs, strict=True)
    return torch.cat(latents), torch.stack(surprise)


def own_format(model: VJEPA2Model) -> dict[str, dict[str, Tensor]]:
    """Encoder and predictor as the authors' trainer saves them: every tensor of transformers' by its name there.

    Held once against their code, facebookresearch/vjepa2 at c2963a4: its `VisionTransformer` and `vit_predictor` of
    this size, in the wrappers of its trainer, saved and adopted, encode and fill the same within 2e-6.
    """
    tensors, found = dict(model.state_dict()), dict[str, dict[str, Tensor]]()
    trunks = {"encoder": ("blocks", "norm"), "predictor": ("predictor_blocks", "predictor_norm")}
    for network, (blocks, norm) in trunks.items():
        one = found[network] = {}
        for kind in ("weight", "bias"):
            one[f"{norm}.{kind}"] = tensors.pop(f"{network}.layernorm.{kind}")
            for index in range(len(getattr(model, network).layer)):
                theirs, ours = f"{network}.layer.{index}", f"{blocks}.{index}"
                parts = [tensors.pop(f"{theirs}.attention.{part}.{kind}") for part in ("query", "key", "value")]
                one[f"{ours}.attn.qkv.{kind}"] = torch.cat(parts)
                one[f"{ours}.attn.proj.{kind}"] = tensors.pop(f"{theirs}.attention.proj.{kind}")
                for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                    one[f"{ours}.{part}.{kind}"] = tensors.pop(f"{theirs}.{part}.{kind}")
    encoder, predictor = found["encoder"], found["predictor"]
    for kind in ("weight", "bias"):
        encoder[f"patch_embed.proj.{kind}"] = tensors.pop(f"encoder.embeddings.patch_embeddings.proj.{kind}")
        predictor[f"predictor_embed.{kind}"] = tensors.pop(f"predictor.embeddings.predictor_embeddings.{kind}")
        predictor[f"predictor_proj.{kind}"] = tensors.pop(f"predictor.proj.{kind}")
    for index, token in enumerate(tensors.pop("predictor.embeddings.mask_tokens")):
        predictor[f"mask_tokens.{index}"] = token
    assert not tensors, f"forgotten: {tensors.keys()}"
    encoder["pos_embed"] = torch.zeros(1, 1, model.config.hidden_size)
    predictor["predictor_pos_embed"] = torch.zeros(1, 1, model.config.pred_hidden_size)
    return {key: {f"module.backbone.{name}": tensor for name, tensor in part.items()} for key, part in found.items()}
