"""The precisions that are measured, and how a world is brought to one."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from wmserve_export.families.lewm import Lewm


@dataclass(frozen=True)
class Precision:
    """What products are computed in; all else is float32."""

    name: str
    tf32: bool = False
    dtype: torch.dtype | None = None
    """Type of the predictor's weights and of what they are multiplied with; None for float32."""

    @property
    def exact(self) -> bool:
        """Whether costs have to be the reference's to rounding."""
        return not self.tf32 and self.dtype is None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """TF32 as this precision wants it, as it was afterwards."""
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        set_tf32("high" if self.tf32 else "highest", self.tf32)
        try:
            yield
        finally:
            set_tf32(*before)


FLOAT32 = Precision("fp32, TF32 off")
TF32 = Precision("fp32, TF32 on", tf32=True)
BF16 = Precision("bf16", tf32=True, dtype=torch.bfloat16)
FP16 = Precision("fp16", tf32=True, dtype=torch.float16)


def set_tf32(products: str, convolutions: bool) -> None:
    """The reference's action encoder begins with a convolution, which has a switch of its own, on by default."""
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions


class CastLinear(nn.Module):
    """A linear layer whose weights are kept in another type; what it is given is cast to it, as autocast would.

    Autocast itself casts weights in every call, or keeps copies that a captured graph must not see change.
    """

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.to(dtype), requires_grad=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.to(dtype), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """`[..., inputs]` of any type -> `[..., outputs]` in the weights' type."""
        return functional.linear(inputs.to(self.weight.dtype), self.weight, self.bias)


def brought_to(world: Lewm, precision: Precision) -> Lewm:
    """A copy of a world with its predictor in a precision.

    Norms and the sums along the blocks stay in float32, as under autocast; the action encoder too: it is 1 % of the
    arithmetic, and an action in bf16 has two digits.
    """
    if precision.dtype is None:
        return world
    world = copy.deepcopy(world)
    for module in list(world.predictor.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, CastLinear(child, precision.dtype))
    return world
