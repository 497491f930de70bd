"""I-JEPA as transformers has it."""

import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from transformers import IJepaConfig, IJepaModel
from wmserve_export.families import Encoder, published

from loadtest.families import adopting
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
        began = time.process_time()
        latents = encoded(model, frames[:, 0])
        reference_cpu_s = time.process_time() - began
        model.save_pretrained(f"{folder}/published")
        parameters = sum(parameter.numel() for parameter in model.parameters())
        del model
        world = adopted(Path(folder))
        began = time.process_time()
        ours = world.encode(frames)[0].reshape(latents.shape)
        encode_cpu_s = time.process_time() - began
    return {
        "parameters": parameters,
        "encode_error": relative_error(ours, latents),
        "reference_encode_cpu_s": reference_cpu_s,
        "encode_cpu_s": encode_cpu_s,
    }


def adopted(folder: Path) -> Encoder:
    """The world of ``folder/published``."""
    facts = published.Facts(name="ijepa_random", description="Random weights.")
    return adopting.adopted("ijepa", folder / "published", facts)


def encoded(model: IJepaModel, frames: Tensor) -> Tensor:
    """Latents `[B, N, C]` of frames `[B, h, w, 3]` uint8 of the native size."""
    return model(normalised(frames)).last_hidden_state


def own_format(model: IJepaModel) -> dict[str, Tensor]:
    """An encoder as the authors' trainer saves it: every tensor of transformers' by its name there.

    Held once against their code, facebookresearch/ijepa at 52c1ae9: its `VisionTransformer` of this size, saved as its
    trainer does and adopted, encodes the same within 1e-6.
    """
    tensors, found = dict(model.state_dict()), dict[str, Tensor]()
    found["pos_embed"] = tensors.pop("embeddings.position_embeddings")
    for kind in ("weight", "bias"):
        found[f"patch_embed.proj.{kind}"] = tensors.pop(f"embeddings.patch_embeddings.projection.{kind}")
        found[f"norm.{kind}"] = tensors.pop(f"layernorm.{kind}")
        for index in range(model.config.num_hidden_layers):
            theirs, ours = f"encoder.layer.{index}", f"blocks.{index}"
            parts = [tensors.pop(f"{theirs}.attention.attention.{part}.{kind}") for part in ("query", "key", "value")]
            found[f"{ours}.attn.qkv.{kind}"] = torch.cat(parts)
            found[f"{ours}.attn.proj.{kind}"] = tensors.pop(f"{theirs}.attention.output.dense.{kind}")
            found[f"{ours}.norm1.{kind}"] = tensors.pop(f"{theirs}.layernorm_before.{kind}")
            found[f"{ours}.norm2.{kind}"] = tensors.pop(f"{theirs}.layernorm_after.{kind}")
            found[f"{ours}.mlp.fc1.{kind}"] = tensors.pop(f"{theirs}.intermediate.dense.{kind}")
            found[f"{ours}.mlp.fc2.{kind}"] = tensors.pop(f"{theirs}.output.dense.{kind}")
    assert not tensors, f"forgotten: {tensors.keys()}"
    return {f"module.{name}": tensor for name, tensor in found.items()}
