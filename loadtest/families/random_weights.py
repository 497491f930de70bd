"""Random weights for reference models, where no trained ones can be had."""

from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def randomised(model: Module, seed: int = 0) -> Module:
    """Draw every parameter anew, so that activations keep their size and nothing is zero or one; in eval mode.

    Models begin training with biases and mask tokens at zero and gains at one, which would hide what is mixed up.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("weight") and parameter.dim() > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            elif parameter.dim() > 1:  # positions and tokens
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(0.1 * noise + name.endswith("weight"))
    return model.eval()
