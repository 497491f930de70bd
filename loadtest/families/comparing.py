"""What a family's numbers are held against."""

import torch
from torch import Tensor


def normalised(frames: Tensor) -> Tensor:
    """Frames `[..., h, w, 3]` uint8 -> pixels `[..., 3, h, w]`, by ImageNet's statistics."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((frames / 255.0 - mean) / std).movedim(-1, -3)


def relative_error(ours: Tensor, reference: Tensor) -> float:
    """Largest difference, relative to the largest value; NaN where there is one."""
    assert ours.shape == reference.shape, f"{ours.shape} beside {reference.shape}"
    return float((ours - reference).abs().max() / reference.abs().max())
