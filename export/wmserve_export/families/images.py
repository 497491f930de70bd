"""Brings frames of any size to the size an encoder takes, in ops that trace with free `h` and `w`."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

Statistics = tuple[float, float, float]
"""Of the red, green and blue of pixels in 0..1."""

IMAGENET_MEAN: Statistics = (0.485, 0.456, 0.406)
IMAGENET_STD: Statistics = (0.229, 0.224, 0.225)


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


def reduce_frames(frames: Tensor, *sizes: int) -> Tensor:
    """Bring frames `[M, h, w, 3]` uint8 to each of these sizes in turn -> `[M, 3, size, size]` float32 in 0..255."""
    pixels = frames.permute(0, 3, 1, 2).to(torch.float32)
    return combined(frames.shape[1], sizes) @ pixels @ combined(frames.shape[2], sizes).T


def combined(size: int, targets: Sequence[int]) -> Tensor:
    """Weights `[last target, size]` of resizing to each target in turn."""
    weights = resize_weights(size, targets[0])
    for before, target in pairwise(targets):
        if before != target:
            weights = resize_weights(before, target) @ weights
    return weights


def patch_layer(
    weight: Tensor, bias: Tensor, mean: Statistics = IMAGENET_MEAN, std: Statistics = IMAGENET_STD
) -> nn.Conv2d:
    """A patch embedding that takes pixels in 0..255 and normalises by the statistics of pixels in 0..1, too.

    Weight `[D, frames x 3, patch, patch]`, for the channels of one frame after those of another, bias `[D]`:
    ``w . (x / 255 - mean) / std + b``, rearranged.
    """
    return normalising(weight, bias, weight.shape[-1], mean, std)


def normalising(weight: Tensor, bias: Tensor, stride: int, mean: Statistics, std: Statistics) -> nn.Conv2d:
    """The same of any convolution without padding."""
    outputs, channels, kernel, _ = weight.shape
    scale, offset = (torch.tensor(values).double().repeat(channels // 3)[:, None, None] for values in (std, mean))
    scaled = weight.double() / scale
    shifted = bias.double() - (scaled * offset).sum(dim=(1, 2, 3))
    layer = nn.Conv2d(channels, outputs, kernel, stride=stride)
    layer.load_state_dict({"weight": scaled / 255.0, "bias": shifted})
    return layer.requires_grad_(False)
