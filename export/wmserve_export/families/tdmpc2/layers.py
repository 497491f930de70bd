"""The networks of a TD-MPC2: linear layers with layer norms and Mish, and the classes that they predict numbers in.

Axes: `M` inputs, `E` critics, `I` and `O` inputs and outputs of a layer, `K` classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmserve_export.families.activations import mish
from wmserve_export.families.images import normalising
from wmserve_export.families.lewm.weights import Weights
from wmserve_export.families.tdmpc2.config import CHANNELS, CONVOLUTIONS, Tdmpc2Config


class Perceptron(nn.Module):
    """Linear layers, normed and with Mish between them; after the last a norm, too, where the checkpoint has one."""

    def __init__(self, weights: Weights, name: str) -> None:
        super().__init__()
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        while f"{name}.{len(self.layers)}.weight" in weights:
            layer = f"{name}.{len(self.layers)}"
            outputs, inputs = weights[f"{layer}.weight"].shape
            self.layers.append(loaded(nn.Linear(inputs, outputs), weights, layer))
            if f"{layer}.ln.weight" in weights:
                self.norms.append(loaded(nn.LayerNorm(outputs), weights, f"{layer}.ln"))

    def forward(self, values: Tensor) -> Tensor:
        """`[..., I]` -> `[..., O]`."""
        for index, layer in enumerate(self.layers):
            values = layer(mish(values) if index else values)
            if index < len(self.norms):
                values = self.norms[index](values)
        return values


class Critics(nn.Module):
    """Perceptrons of the same sizes, as products of their stacked weights."""

    def __init__(self, config: Tdmpc2Config, weights: Weights) -> None:
        super().__init__()
        self.depth = 3
        for index in range(self.depth):
            for part in ("weight", "bias", "ln.weight", "ln.bias"):
                names = [f"qs.{critic}.{index}.{part}" for critic in range(config.critics)]
                if names[0] in weights:
                    stacked = torch.stack([weights[name].float() for name in names])
                    stacked = stacked.transpose(1, 2) if part == "weight" else stacked.unsqueeze(1)
                    self.register_buffer(f"{part.replace('.', '_')}_{index}", stacked.contiguous())

    def forward(self, values: Tensor) -> Tensor:
        """`[M, I]` -> `[E, M, K]`."""
        for index in range(self.depth):
            values = values @ self.get_buffer(f"weight_{index}") + self.get_buffer(f"bias_{index}")
            if index < self.depth - 1:
                normed = functional.layer_norm(values, values.shape[-1:])
                gain, shift = self.get_buffer(f"ln_weight_{index}"), self.get_buffer(f"ln_bias_{index}")
                values = mish(normed * gain + shift)
        return values


class FrameEncoder(nn.Module):
    """Frames of the native size -> their embedding; the first convolution normalises pixels, too."""

    def __init__(self, config: Tdmpc2Config, weights: Weights) -> None:
        super().__init__()
        (_, first_stride), *rest = CONVOLUTIONS
        weight, bias = weights["cnn.0.weight"], weights["cnn.0.bias"]
        first = normalising(weight, bias, first_stride, config.pixel_mean, config.pixel_std)
        others = (
            loaded(nn.Conv2d(CHANNELS, CHANNELS, kernel, stride), weights, f"cnn.{2 * index}")
            for index, (kernel, stride) in enumerate(rest, 1)
        )
        self.convolutions = nn.ModuleList([first, *others])
        width, inputs = weights["pixel_encoder.weight"].shape
        self.last = loaded(nn.Linear(inputs, width), weights, "pixel_encoder")

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels `[M, 3, h, w]` float32 in 0..255 -> `[M, O]`."""
        for convolution in self.convolutions:
            pixels = mish(convolution(pixels))
        embedded: Tensor = self.last(pixels.flatten(1))
        return embedded


class Classes(nn.Module):
    """Numbers that networks predict as classes, which lie evenly in ``symlog`` of the number."""

    places: Tensor

    def __init__(self, config: Tdmpc2Config) -> None:
        super().__init__()
        self.register_buffer("places", torch.linspace(config.low_bin, config.high_bin, config.bins)[:, None])

    def forward(self, scores: Tensor) -> Tensor:
        """Scores of the classes `[..., K]` -> the number expected `[...]`."""
        expected = (torch.softmax(scores, dim=-1) @ self.places).squeeze(-1)
        return torch.sign(expected) * (torch.exp(expected.abs()) - 1)


def simplices(values: Tensor, size: int) -> Tensor:
    """Softmax over each `size` numbers in turn, `[..., O]`."""
    return torch.softmax(torch.unflatten(values, -1, (-1, size)), dim=-1).flatten(-2)


def loaded(layer: nn.Module, weights: Weights, name: str) -> nn.Module:
    """A layer with the checkpoint's weights, which are not trained any more."""
    layer.load_state_dict({part: weights[f"{name}.{part}"] for part in ("weight", "bias")})
    return layer.requires_grad_(False)
