"""The predictor's rollout, unrolled and rewritten: the reference's numbers for about half of its arithmetic.

The reference predicts each step from a window of up to three frames at absolute positions, and computes every frame of
every window again. What is shared or left out here, and why nothing changes:

- While the window grows, a frame keeps its position, and attention is causal: its keys and values are kept. Once the
  window slides, every position changes and the window is computed anew.
- Softmax ignores what all scores have in common, and its weights add up to 1. With keys and values relative to the
  window's first frame, ``out = W v_0 + W sum_j p_j (v_j - v_0)`` and ``p = softmax(0, q.(k_1 - k_0), ...)``: the first
  frame needs no query and no key, and of its value only ``W v_0``, one small matrix.
- Of the last block only the newest frame's output is used; earlier frames give it keys and values alone.
- AdaLN's shifts, scales and gates depend on actions only: once per action, not once per window that it appears in.
- Frames of the context before the last are the same for all candidates: once for all.
- Affine maps that follow each other are one: gains of norms, batch norm, the scale of the scores, the 1 of
  ``1 + scale``.

Axes: `B` batch, `S` candidates (1 where all share a frame), `D` latent dimension, `W` width of the blocks.
"""

from torch import Tensor, nn

from wmserve_export.families.lewm.block import Block, Memory, Modulation, normalise
from wmserve_export.families.lewm.config import LewmConfig
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.projection import Projector
from wmserve_export.families.lewm.weights import LAYER_NORM_EPS, Weights

TRANSFORMER = "predictor.transformer"


class Predictor(nn.Module):
    """Rolls frames out along embedded actions."""

    positions: Tensor

    def __init__(self, config: LewmConfig, weights: Weights) -> None:
        super().__init__()
        self.window = config.window
        positions, enter = weights["predictor.pos_embedding"][0].double(), f"{TRANSFORMER}.input_proj"
        self.enter = None
        if config.predictor_width != config.latent_dim:  # a position is part of what the first layer adds
            first = Affine.linear(weights, enter)
            positions, self.enter = positions @ first.weight.T + first.bias, first.module(bias=False)
        self.register_buffer("positions", positions.float())
        names = [f"predictor.transformer.layers.{index}" for index in range(config.predictor_depth)]
        self.blocks = [Block(config, weights, name) for name in names]
        self.registered = nn.ModuleList(self.blocks)  # such a list forgets the type of what it holds
        between, leave = Affine.same(config.predictor_width), f"{TRANSFORMER}.output_proj"
        if config.predicted_width != config.predictor_width:
            between = Affine.linear(weights, leave)
        self.project = Projector(config.predictor_projector, weights, "pred_proj.net", between, f"{TRANSFORMER}.norm")

    def forward(self, context: list[Tensor], actions: list[Tensor]) -> list[Tensor]:
        """Predict a frame `[B, S, D]` after each action from the last frame of the context on.

        Context frames and activated action embeddings, each `[B, S, D]`; the first action follows the first frame.
        """
        frames = list(context)
        by = [[block.modulate(action) for block in self.blocks] for action in actions]
        memories: list[Memory | None] = []
        for newest in range(len(context) - 1, len(actions)):
            oldest = max(0, newest + 1 - self.window)
            grows = oldest == 0 and newest >= len(context)
            if not grows:
                memories = [None] * len(self.blocks)
                for frame in range(oldest, newest):
                    self.read(self.placed(frames[frame], frame - oldest), by[frame], memories)
            frames.append(self.predict(self.placed(frames[newest], newest - oldest), by[newest], memories))
        return frames[len(context) :]

    def placed(self, latents: Tensor, place: int) -> Tensor:
        """A frame `[B, S, D]` at a place of the window, as the blocks read it, `[B, S, W]`."""
        entered: Tensor = latents if self.enter is None else self.enter(latents)
        return entered + self.positions[place]

    def read(self, latents: Tensor, by: list[Modulation], memories: list[Memory | None]) -> tuple[Tensor, Tensor]:
        """Add a frame `[B, S, W]` to the blocks' memories; its latents before the last block, and normalised there."""
        for index, (block, modulation) in enumerate(zip(self.blocks, by, strict=True)):
            normalised = block.normalised(latents, modulation)
            memory = memories[index] = block.remember(memories[index], normalised)
            if block is not self.blocks[-1]:
                latents = block(latents, block.attend(memory, normalised), modulation)
        return latents, normalised

    def predict(self, latents: Tensor, by: list[Modulation], memories: list[Memory | None]) -> Tensor:
        """Read the newest frame of a window, `[B, S, W]`, and predict the one that follows."""
        latents, normalised = self.read(latents, by, memories)
        last, memory = self.blocks[-1], memories[-1]
        assert memory is not None, "reading a frame leaves a memory"
        latents = last(latents, last.attend(memory, normalised), by[-1])
        predicted: Tensor = self.project(normalise(latents, LAYER_NORM_EPS))
        return predicted
