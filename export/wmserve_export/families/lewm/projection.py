"""What makes latents of the last norm's output, in encoder and predictor: the reference's ``MLP``, or nothing.

    normed without gain and shift -> gain, shift -> maybe a linear layer -> linear -> norm -> activation -> linear

All that is affine and follows each other is one layer; a batch norm is affine, a layer norm is not.
"""

from torch import Tensor, nn
from torch.nn import functional

from wmserve_export.families.activations import FUNCTIONS
from wmserve_export.families.lewm.config import Projection
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.weights import Weights


class Projector(nn.Module):
    """The layers after a norm: `between`, and those of a projection, if there is any."""

    gain: Tensor
    shift: Tensor

    def __init__(self, config: Projection | None, weights: Weights, name: str, between: Affine, norm: str) -> None:
        super().__init__()
        self.config, before = config, between.after_norm(weights, norm)
        if config is None:
            self.first = before.module()
            return
        first = Affine.linear(weights, f"{name}.0").after(before)
        if config.norm == "batch":
            first = first.before_batch_norm(weights, f"{name}.1", config.norm_eps)
        elif config.norm == "layer":
            self.register_buffer("gain", weights[f"{name}.1.weight"].float().clone())
            self.register_buffer("shift", weights[f"{name}.1.bias"].float().clone())
        self.first, self.second = first.module(), Affine.linear(weights, f"{name}.3").module()

    def forward(self, normed: Tensor) -> Tensor:
        """`[..., C]` -> latents `[..., D]`."""
        values: Tensor = self.first(normed)
        if self.config is None:
            return values
        if self.config.norm == "layer":
            values = functional.layer_norm(values, values.shape[-1:], self.gain, self.shift, self.config.norm_eps)
        projected: Tensor = self.second(FUNCTIONS[self.config.activation](values))
        return projected
