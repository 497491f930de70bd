"""The rewritten predictor in another order, for devices where the number of kernels is what counts.

Once the window slides, a frame is read once for every window that it belongs to, each time at another position. Those
reads need nothing of each other, and only what the windows remember of earlier frames: here they go through the blocks
together, as rows of the same products. Horizon 5 and window 3 make 5 passes through the blocks where there were 9, with
the same arithmetic. The modulations of all actions by all blocks are one product.

Axes: `V` windows, `B` batch, `S` candidates, `D` latent dimension, `K` width of one attention head.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from wmserve_export.families.lewm.block import Block, Modulation, normalise, shares_beside_zero
from wmserve_export.families.lewm.predictor import Predictor
from wmserve_export.families.lewm.weights import LAYER_NORM_EPS


@dataclass
class Window:
    """What one block remembers of one window; keys and values `[B, S, heads, K]` less the first frame's."""

    first: Tensor
    first_output: Tensor
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


class Wavefront(nn.Module):
    """Takes a predictor's place."""

    positions: Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.window, self.blocks = predictor.window, predictor.blocks
        self.registered = predictor.registered
        self.register_buffer("positions", predictor.positions)
        self.modulations = together([block.modulation for block in predictor.blocks])
        self.project = predictor.project

    def forward(self, context: list[Tensor], actions: list[Tensor]) -> list[Tensor]:
        """Predict a frame `[B, S, D]` after each action `[B, S, D]` from a context of one frame."""
        assert len(context) == 1, "frames of the past are not read here"
        frames, last = list(context), max(0, len(actions) - self.window)
        memories: list[dict[int, Window]] = [{} for _ in self.blocks]
        modulations = self.modulations(torch.stack(actions)).chunk(len(self.blocks), dim=-1)
        for frame in range(len(actions)):
            windows = list(range(max(0, frame + 1 - self.window), min(frame, last) + 1))
            by = [Modulation(*modulation[frame].chunk(6, dim=-1)) for modulation in modulations]
            latents = torch.stack([frames[frame] + self.positions[frame - window] for window in windows])
            frames.append(self.predict(latents, windows, frame, by, memories))
        return frames[1:]

    def predict(
        self, latents: Tensor, windows: list[int], frame: int, by: list[Modulation], memories: list[dict[int, Window]]
    ) -> Tensor:
        """Read a frame `[V, B, S, D]` in all its windows; the oldest of them is full and predicts the next frame."""
        for block, modulation, memory in zip(self.blocks, by, memories, strict=True):
            normalised = block.normalised(latents, modulation)
            remember(block, memory, windows, frame, normalised)
            if block is self.blocks[-1]:
                latents, normalised, windows = latents[:1], normalised[:1], windows[:1]
            latents = block(latents, attend(block, memory, windows, normalised), modulation)
        predicted: Tensor = self.project(normalise(latents[0], LAYER_NORM_EPS))
        return predicted


def together(layers: list[nn.Linear]) -> nn.Linear:
    """One layer that gives the outputs of several, one after the other."""
    inputs, outputs = layers[0].in_features, sum(layer.out_features for layer in layers)
    with torch.no_grad():
        joined = nn.Linear(inputs, outputs)
        joined.weight.copy_(torch.cat([layer.weight for layer in layers]))
        joined.bias.copy_(torch.cat([layer.bias for layer in layers]))
    return joined.requires_grad_(False)


def remember(block: Block, memory: dict[int, Window], windows: list[int], frame: int, normalised: Tensor) -> None:
    """Add a frame `[V, B, S, D]` to the windows; the newest window may begin with it."""
    older = [window for window in windows if window != frame]
    if older:
        firsts = torch.stack([memory[window].first for window in older])
        keys, values = block.split(block.key_value(normalised[: len(older)] - firsts)).chunk(2, dim=-2)
        for row, window in enumerate(older):
            memory[window].keys.append(keys[row])
            memory[window].values.append(values[row])
    if len(older) < len(windows):
        memory[frame] = Window(normalised[-1], block.first_out(normalised[-1]))


def attend(block: Block, memory: dict[int, Window], windows: list[int], normalised: Tensor) -> Tensor:
    """What the frame takes from each window, `[V, B, S, D]`."""
    outputs = torch.stack([memory[window].first_output for window in windows])
    older = [window for window in windows if memory[window].keys]
    if not older:
        return outputs
    queries = block.split(block.query(normalised[: len(older)]))
    mixed = [mix(queries[row], memory[window]) for row, window in enumerate(older)]
    more = block.out(torch.stack(mixed).flatten(-2))
    if len(older) < len(windows):  # the window that begins here has nothing to add
        more = torch.cat([more, torch.zeros_like(more[:1])])
    return outputs + more


def mix(query: Tensor, window: Window) -> Tensor:
    """Values of a window weighed by a query `[B, S, heads, K]`."""
    shares = shares_beside_zero([(query * key).sum(dim=-1, keepdim=True) for key in window.keys])
    mixed = shares[0] * window.values[0]
    for share, value in zip(shares[1:], window.values[1:], strict=True):
        mixed = mixed + share * value
    return mixed
