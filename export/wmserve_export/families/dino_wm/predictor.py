"""The predictor's rollout: the reference's numbers, with less of its arithmetic.

The reference predicts each step from a window of frames at absolute positions, each frame with the action that follows
it, and computes every frame of every window again. What is shared or left out here, and why nothing changes:

- While the window grows, a frame keeps its position, and attention is causal: its keys and values are kept. Once the
  window slides, every position changes and the window is computed anew.
- Of the last block only the newest frame's output is used; earlier frames give it keys and values alone.
- Frames of the context before the last are the same for all candidates: once for all.
- Affine maps that follow each other are one. A bias of the keys adds the same to all scores, which softmax ignores; one
  of the values is added once, whatever the scores.

The reference concatenates actions and proprioception in an order of its own. Here actions come last, so that latents
are the columns before them: weights are arranged for that, and norms do not mind.

Axes: `B` batch, `S` candidates, `M` rollouts (`B x S`, or `B` of what candidates share), `P` patches, `C` width of a
patch's latents, `A` width of an embedded action, `K` width of one attention head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from wmserve_export.families.dino_wm.config import DinoWmConfig
from wmserve_export.families.lewm.block import normalise
from wmserve_export.families.lewm.fusing import Affine
from wmserve_export.families.lewm.weights import LAYER_NORM_EPS, Weights

Memory = tuple[Tensor, Tensor]
"""Keys and values of the frames that a block has read, `[M, heads, frames x P, K]`."""


class Block(nn.Module):
    """Attention and MLP, each added to what it reads."""

    def __init__(self, config: DinoWmConfig, weights: Weights, name: str) -> None:
        super().__init__()
        self.heads, self.patches = config.predictor_heads, config.patches
        width, columns = config.attention_width, config.columns()
        qkv = Affine.linear(weights, f"{name}.0.to_qkv").after_norm(weights, f"{name}.0.norm")
        qkv = Affine(qkv.weight[:, columns], qkv.bias)
        # Of one head as wide as the tokens the reference leaves this layer out.
        out = Affine.linear(weights, f"{name}.0.to_out.0") if config.attention_projected else Affine.same(width)
        out = Affine(out.weight, out.weight @ qkv.bias[2 * width :] + out.bias)
        self.query, self.key_value = qkv.rows(0, width).module(), qkv.rows(width, 3 * width).module(bias=False)
        self.out = arranged(out, columns).module()
        mlp_in = Affine.linear(weights, f"{name}.1.net.1").after_norm(weights, f"{name}.1.net.0")
        self.mlp_in = Affine(mlp_in.weight[:, columns], mlp_in.bias).module()
        self.mlp_out = arranged(Affine.linear(weights, f"{name}.1.net.4"), columns).module()

    def remember(self, memory: Memory | None, read: Tensor) -> Memory:
        """Add frames' normalised tokens `[M, frames x P, C + A]` to a memory, or begin one with them."""
        key, value = (self.split(part) for part in self.key_value(read).chunk(2, dim=-1))
        if memory is None:
            return key, value
        return torch.cat([memory[0], key], dim=-2), torch.cat([memory[1], value], dim=-2)

    def forward(self, tokens: Tensor, read: Tensor, memory: Memory) -> Tensor:
        """Add attention and MLP to the tokens `[M, frames x P, C + A]` of the newest frames in memory."""
        tokens = tokens + self.out(self.attend(self.split(self.query(read)), memory))
        return tokens + self.mlp_out(functional.gelu(self.mlp_in(normalise(tokens, LAYER_NORM_EPS))))

    def attend(self, query: Tensor, memory: Memory) -> Tensor:
        """What the newest frames take from those that are no later, `[M, frames x P, heads x K]`."""
        key, value = memory
        frames, taken = torch.split(query, self.patches, dim=-2), []
        for index, frame in enumerate(frames):
            known = key.shape[-2] - (len(frames) - 1 - index) * self.patches
            taken.append(functional.scaled_dot_product_attention(frame, key[:, :, :known], value[:, :, :known]))
        return torch.cat(taken, dim=-2).transpose(1, 2).flatten(2)

    def split(self, wide: Tensor) -> Tensor:
        """`[M, frames x P, heads x K]` -> `[M, heads, frames x P, K]`."""
        return torch.unflatten(wide, -1, (self.heads, -1)).transpose(1, 2)


class Predictor(nn.Module):
    """Rolls frames out along embedded actions."""

    positions: Tensor
    gain: Tensor
    shift: Tensor

    def __init__(self, config: DinoWmConfig, weights: Weights) -> None:
        super().__init__()
        self.window, columns = config.window, config.columns()
        positions = weights["predictor.pos_embedding"][0].float()[:, columns]
        self.register_buffer("positions", torch.unflatten(positions, 0, (config.positions, -1)))
        names = [f"predictor.transformer.layers.{index}" for index in range(config.predictor_depth)]
        self.blocks = [Block(config, weights, name) for name in names]
        self.registered = nn.ModuleList(self.blocks)  # such a list forgets the type of what it holds
        kept = columns[: config.latent_shape[1]]
        self.register_buffer("gain", weights["predictor.transformer.norm.weight"].float()[kept])
        self.register_buffer("shift", weights["predictor.transformer.norm.bias"].float()[kept])

    def forward(self, context: list[Tensor], past: list[Tensor], future: list[Tensor]) -> list[Tensor]:
        """Predict a frame `[B x S, P, C]` after each future action.

        Context frames `[B, P, C]`, embedded actions `[B, A]` between them, and those `[B, S, A]` that follow the last.
        """
        candidates, shared = future[0].shape[1], len(past)
        frames = [*context[:-1], repeated(context[-1], candidates)]
        actions = [*past, *(action.flatten(0, 1) for action in future)]
        memories: list[Memory | None] = []
        for newest in range(shared, len(actions)):
            oldest = max(0, newest + 1 - self.window)
            grows = oldest == 0 and newest > shared
            first = newest if grows else oldest
            if not grows:
                memories = [None] * len(self.blocks)
            if first < shared:
                self.read(self.tokens(frames[first:shared], actions[first:shared], first - oldest), memories)
                memories, first = [for_all(memory, candidates) for memory in memories], shared
            new = self.tokens(frames[first : newest + 1], actions[first : newest + 1], first - oldest)
            frames.append(self.predict(*self.read(new, memories), memories[-1]))
        return frames[len(context) :]

    def tokens(self, frames: list[Tensor], actions: list[Tensor], place: int) -> Tensor:
        """Frames `[M, P, C]` and their actions `[M, A]` from a place in the window on -> `[M, frames x P, C + A]`."""
        patches = self.positions.shape[1]
        parts = [
            torch.cat([frame, action.unsqueeze(1).expand(-1, patches, -1)], dim=-1)
            for frame, action in zip(frames, actions, strict=True)
        ]
        return torch.cat(parts, dim=1) + self.positions[place : place + len(frames)].flatten(0, 1)

    def read(self, tokens: Tensor, memories: list[Memory | None]) -> tuple[Tensor, Tensor]:
        """Add frames to the blocks' memories; their tokens before the last block, and normalised there."""
        for index, block in enumerate(self.blocks):
            read = normalise(tokens, LAYER_NORM_EPS)
            memory = memories[index] = block.remember(memories[index], read)
            if block is not self.blocks[-1]:
                tokens = block(tokens, read, memory)
        return tokens, read

    def predict(self, tokens: Tensor, read: Tensor, memory: Memory | None) -> Tensor:
        """The frame after the newest, `[M, P, C]`, from what was read of that, the last in `tokens`."""
        assert memory is not None, "reading a frame leaves a memory"
        patches = self.positions.shape[1]
        predicted = normalise(self.blocks[-1](tokens[:, -patches:], read[:, -patches:], memory), LAYER_NORM_EPS)
        return predicted[..., : self.gain.shape[0]] * self.gain + self.shift


def repeated(shared: Tensor, candidates: int) -> Tensor:
    """What candidates share, for each of them: `[B, ...]` -> `[B x S, ...]`."""
    return shared.unsqueeze(1).expand(-1, candidates, *shared.shape[1:]).flatten(0, 1)


def for_all(memory: Memory | None, candidates: int) -> Memory:
    """A memory of frames that candidates share, for each of them."""
    assert memory is not None, "reading a frame leaves a memory"
    key, value = memory
    return repeated(key, candidates), repeated(value, candidates)


def arranged(layer: Affine, outputs: list[int]) -> Affine:
    """A layer with its outputs in another order."""
    return Affine(layer.weight[outputs], layer.bias[outputs])
