"""Losses that keep latents predictive and spread out, without reconstruction."""

import torch
from torch import Tensor

KNOTS = 17
REACH = 3.0
SLICES = 64


def sigreg(samples: Tensor) -> Tensor:
    """How far samples `[M, D]` are from a standard normal: Epps-Pulley over random slices, a scalar.

    ``integral w(t) [(mean cos tx - e^(-t^2/2))^2 + (mean sin tx)^2] dt`` with ``w = e^(-t^2/2)``, 17 points on [0, 3],
    averaged over unit directions (LeJEPA, arXiv 2511.08544). Not multiplied by `M`, so that the weight of this loss
    does not depend on the batch.
    """
    directions = torch.nn.functional.normalize(torch.randn(samples.shape[1], SLICES), dim=0)
    knots = torch.linspace(0.0, REACH, KNOTS)
    gauss = torch.exp(-(knots**2) / 2)
    angles = (samples @ directions)[..., None] * knots
    error = (angles.cos().mean(dim=0) - gauss) ** 2 + angles.sin().mean(dim=0) ** 2
    return torch.trapezoid(error * gauss, knots, dim=-1).mean()
