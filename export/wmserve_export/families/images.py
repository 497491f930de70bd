"""Brings frames of any size to the size an encoder takes, in ops that trace with free `h` and `w`."""

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of pixels in 0..1."""
IMAGENET_STD = (0.229, 0.224, 0.225)


def resize_weights(size: int, target: int) -> Tensor:
    """Antialiased bilinear weights `[target, size]`: triangles as wide as one output pixel, rows that sum to 1.

    The same as ``interpolate(mode="bilinear", antialias=True)``, but in ops that export with a free ``size``;
    the identity where ``size == target``.
    """
    scale = size / target
    centre = (torch.arange(target) + 0.5) * scale - 0.5
    width = torch.clamp(torch.ones(1) * scale, min=1.0)
    offset = torch.arange(size)[None, :] - centre[:, None]
    weights = torch.clamp(1.0 - offset.abs() / width, min=0.0)
    return weights / weights.sum(dim=1, keepdim=True)


def reduce_frames(frames: Tensor, size: int) -> Tensor:
    """Frames `[M, h, w, 3]` uint8 -> `[M, 3, size, size]` float32 in 0..255."""
    pixels = frames.permute(0, 3, 1, 2).to(torch.float32)
    rows = resize_weights(frames.shape[1], size)
    columns = resize_weights(frames.shape[2], size)
    return rows @ pixels @ columns.T


def patch_layer(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A patch embedding that takes pixels in 0..255 and normalises by ImageNet's statistics, too.

    Weight `[D, frames x 3, patch, patch]`, for the channels of one frame after those of another, bias `[D]`:
    ``w . (x / 255 - mean) / std + b``, rearranged.
    """
    outputs, channels, patch, _ = weight.shape
    mean, std = (
        torch.tensor(values).double().repeat(channels // 3)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    scaled = weight.double() / std
    shifted = bias.double() - (scaled * mean).sum(dim=(1, 2, 3))
    layer = nn.Conv2d(channels, outputs, patch, stride=patch)
    layer.load_state_dict({"weight": scaled / 255.0, "bias": shifted})
    return layer.requires_grad_(False)
