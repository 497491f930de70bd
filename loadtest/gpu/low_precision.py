"""V-JEPA 2-AC's networks in bf16 and FP8, for one that runs them with torch.

Norms and the sums along the blocks stay in float32, as under autocast, and so do the layers that read actions and
poses. Attention within a block is torch's fused one, over the keys and values of all frames so far.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional
from wmserve_export.families.vjepa2_ac import VJepa2Ac, block

from loadtest.gpu.precision import CastLinear

E4M3 = torch.float8_e4m3fn
LARGEST = torch.finfo(E4M3).max


class Half(nn.Module):
    """A layer with bf16 weights; gives bf16."""

    def __init__(self, layer: block.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.to(torch.bfloat16))
        self.register_buffer("bias", layer.bias.to(torch.bfloat16))

    def forward(self, values: Tensor) -> Tensor:
        """`[..., inputs]` -> `[..., outputs]` bf16."""
        flat = values.to(torch.bfloat16).flatten(0, -2)
        return torch.addmm(self.bias, flat, self.weight).unflatten(0, values.shape[:-1])


class Float8(nn.Module):
    """A layer in FP8 (E4M3), with a scale for each output and each row of what it is given; gives bf16.

    The device's kernels take such scales from compute capability 9.0 on (`torch._scaled_mm`); elsewhere products of the
    same rounded numbers stand in for them.
    """

    def __init__(self, layer: block.Linear) -> None:
        super().__init__()
        scale = layer.weight.abs().amax(dim=0, keepdim=True).clamp(min=1e-12) / LARGEST
        # The kernels want the weight's columns one after the other.
        self.register_buffer("weight", (layer.weight / scale).to(E4M3).T.contiguous().T)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", layer.bias.to(torch.bfloat16))

    def forward(self, values: Tensor) -> Tensor:
        """`[..., inputs]` -> `[..., outputs]` bf16."""
        flat = values.flatten(0, -2)
        scale = flat.abs().amax(dim=-1, keepdim=True).float().clamp(min=1e-12) / LARGEST
        rounded = (flat / scale).to(E4M3)
        if not flat.is_cuda:
            product = (rounded.float() @ self.weight.float()) * scale * self.scale
            return (product + self.bias).to(torch.bfloat16).unflatten(0, values.shape[:-1])
        product = torch._scaled_mm(
            rounded, self.weight, scale, self.scale, bias=self.bias, out_dtype=torch.bfloat16, use_fast_accum=True
        )
        return product.unflatten(0, values.shape[:-1])


class Float32(nn.Module):
    """Back to float32."""

    def forward(self, values: Tensor) -> Tensor:
        """Any shape."""
        return values.float()


def fused(query: Tensor, memory: block.Memory) -> Tensor:
    """:func:`block.attended` by the device's own kernel, in bf16."""
    shape = (*query.shape[:-2], -1, query.shape[-1])
    keys, values = (
        torch.cat([part.to(torch.bfloat16).expand(shape[:-2] + part.shape[-2:]) for part in parts], dim=-2)
        for parts in (memory.keys, memory.values)
    )
    flat = [tensor.flatten(0, -4) for tensor in (query.to(torch.bfloat16), keys, values)]
    return functional.scaled_dot_product_attention(*flat, scale=1.0).unflatten(0, query.shape[:-3])


def predicting(world: VJepa2Ac, kind: type[nn.Module]) -> VJepa2Ac:
    """A copy whose predictor multiplies in another type: of the blocks, and of what stands before and behind them."""
    world = copy.deepcopy(world)
    predictor = world.predictor
    predictor.embed, predictor.out = kind(predictor.embed), kind(predictor.out)
    for layer in predictor.blocks:
        layer.attended = fused
        for name in ("query_key_value", "out", "mlp_in", "mlp_out"):
            setattr(layer, name, kind(getattr(layer, name)))
    return world


def encoding(world: VJepa2Ac) -> VJepa2Ac:
    """A copy whose encoder's layers multiply in bf16; attention, 3 % of the arithmetic of a frame, stays in float32."""
    world = copy.deepcopy(world)
    for layer in world.encoder.layers:
        for name in ("qkv", "out", "mlp_in", "mlp_out"):
            setattr(layer, name, CastLinear(getattr(layer, name), torch.bfloat16))
        layer.qkv = nn.Sequential(layer.qkv, Float32())
    return world
