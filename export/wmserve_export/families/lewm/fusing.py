"""Fuses affine maps that follow each other into one linear layer; computed in float64, kept in float32."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from wmserve.world import Axis

from wmserve_export.families.lewm.weights import Weights


@dataclass(frozen=True)
class Affine:
    """``x -> x @ weight.T + bias`` in float64; weight `[outputs, inputs]`, bias `[outputs]`."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def linear(cls, weights: Weights, name: str) -> Self:
        """A linear layer of the checkpoint; without a bias, zeros."""
        weight = weights[f"{name}.weight"].double()
        bias = weights.get(f"{name}.bias", torch.zeros(len(weight))).double()
        return cls(weight, bias)

    @classmethod
    def same(cls, width: int) -> Self:
        """What leaves `width` numbers as they are."""
        return cls(torch.eye(width).double(), torch.zeros(width).double())

    @classmethod
    def pointwise(cls, weights: Weights, name: str) -> Self:
        """A convolution over time with kernel 1, which is a linear layer."""
        return cls(weights[f"{name}.weight"].double().squeeze(2), weights[f"{name}.bias"].double())

    def of_units(self, axes: Sequence[Axis]) -> "Affine":
        """This map of z-scores, as a map of values in environment units, one for each axis."""
        mean, std = (torch.tensor([getattr(axis, name) for axis in axes]).double() for name in ("mean", "std"))
        return self.after(Affine(torch.diag(1.0 / std), -mean / std))

    def after_norm(self, weights: Weights, name: str) -> "Affine":
        """This map after the affine part of a layer norm."""
        gain, shift = weights[f"{name}.weight"].double(), weights[f"{name}.bias"].double()
        return Affine(self.weight * gain, self.weight @ shift + self.bias)

    def before_batch_norm(self, weights: Weights, name: str, eps: float) -> "Affine":
        """This map before a batch norm in eval mode, which is affine."""
        gain = weights[f"{name}.weight"].double() / (weights[f"{name}.running_var"].double() + eps).sqrt()
        shift = weights[f"{name}.bias"].double() - gain * weights[f"{name}.running_mean"].double()
        return Affine(gain[:, None] * self.weight, gain * self.bias + shift)

    def after(self, inner: "Affine") -> "Affine":
        """This map after another."""
        return Affine(self.weight @ inner.weight, self.weight @ inner.bias + self.bias)

    def rows(self, start: int, stop: int) -> "Affine":
        """Some of its outputs."""
        return Affine(self.weight[start:stop], self.bias[start:stop])

    def __mul__(self, factor: float) -> "Affine":
        return Affine(self.weight * factor, self.bias * factor)

    def plus(self, constant: Tensor) -> "Affine":
        """Add constants `[outputs]`."""
        return Affine(self.weight, self.bias + constant)

    def module(self, bias: bool = True) -> nn.Linear:
        """A float32 layer; without `bias` for what is applied to differences, in which it cancels."""
        outputs, inputs = self.weight.shape
        layer = nn.Linear(inputs, outputs, bias=bias)
        layer.load_state_dict({"weight": self.weight, **({"bias": self.bias} if bias else {})})
        return layer.requires_grad_(False)
