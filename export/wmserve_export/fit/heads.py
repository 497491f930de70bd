"""What is fitted to latents, as torch modules that can also add themselves to an ONNX graph.

    Stack      latents [..., D]                     -> linear maps, with or without a ReLU after each, [..., W]
    Distance   latents [B, S, E, H, D], goal [B, D] -> distance of their stacks, [B, S, H]

Both ways to compute a head are held against each other by a gate.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn import functional

SOFT = 1e-3
"""Rounds off a Euclidean distance next to its goal, where its gradient would jump; taken off again: 0 stays 0."""


class Added:
    """Nodes and weights that are added to a graph, whose names begin with one prefix."""

    def __init__(self, graph: ir.Graph, prefix: str) -> None:
        self._graph, self._prefix, self._count = graph, prefix, 0

    def node(self, kind: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        """Add a node with one output."""
        self._count += 1
        name = f"{self._prefix}/{kind}_{self._count}"
        out = ir.Value(name=f"{name}/out")
        given = [ir.AttrInt64(key, value) for key, value in attributes.items()]
        self._graph.append(ir.Node("", kind, list(inputs), given, outputs=[out], name=name))
        return out

    def weight(self, array: Tensor | Sequence[int]) -> ir.Value:
        """Add a constant."""
        self._count += 1
        content = array.detach().numpy() if isinstance(array, Tensor) else np.array(array, np.int64)
        name = f"{self._prefix}/weight_{self._count}"
        value = ir.Value(name=name, const_value=ir.Tensor(content.copy(), name=name))
        value.shape, value.type = ir.Shape(content.shape), ir.TensorType(ir.DataType.from_numpy(content.dtype))
        self._graph.register_initializer(value)
        return value


class Stack(nn.Module):
    """Linear maps one after the other, some with a ReLU behind them."""

    def __init__(self, *layers: nn.Linear, active: Sequence[bool] | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.active = tuple(active) if active is not None else (*(True for _ in layers[1:]), False)

    def forward(self, latents: Tensor) -> Tensor:
        """`[..., D]` -> `[..., W]`."""
        for layer, active in zip(self.layers, self.active, strict=True):
            latents = functional.relu(layer(latents)) if active else layer(latents)
        return latents

    def add(self, added: Added, latents: ir.Value) -> ir.Value:
        """The same as nodes."""
        for layer, active in zip(self.layers, self.active, strict=True):
            assert isinstance(layer, nn.Linear)
            latents = added.node("MatMul", latents, added.weight(layer.weight.T.contiguous()))
            latents = added.node("Add", latents, added.weight(layer.bias))
            latents = added.node("Relu", latents) if active else latents
        return latents


class Distance(nn.Module):
    """How far stacks of latents and of a goal are apart: squared, or Euclidean. Finite, symmetric, 0 at the goal."""

    def __init__(self, stack: Stack, squared: bool) -> None:
        super().__init__()
        self.stack, self.squared = stack, squared

    def between(self, latents: Tensor, goals: Tensor) -> Tensor:
        """Latents and goals `[..., D]` that broadcast -> `[...]`."""
        return self.of(self.stack(latents), self.stack(goals))

    def of(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """The same of what the stack has made of them, `[..., W]`."""
        squares = (ours - theirs).square().sum(dim=-1)
        return squares if self.squared else functional.relu((squares + SOFT**2).sqrt() - SOFT)

    def forward(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Latents `[B, S, E, H, D]` and goals `[B, D]` -> `[B, S, H]`; of members' latents the mean is taken first."""
        return self.between(latents.mean(dim=2), goal[:, None, None])

    def add(self, added: Added, paths: ir.Value, goal: ir.Value) -> ir.Value:
        """The same as nodes."""
        ours = self.stack.add(added, added.node("ReduceMean", paths, added.weight([2]), keepdims=0))
        theirs = self.stack.add(added, added.node("Unsqueeze", goal, added.weight([1, 2])))
        difference = added.node("Sub", ours, theirs)
        squares = added.node("Mul", difference, difference)
        squares = added.node("ReduceSum", squares, added.weight([-1]), keepdims=0)
        if self.squared:
            return squares
        root = added.node("Sqrt", added.node("Add", squares, added.weight(torch.tensor(SOFT**2))))
        return added.node("Relu", added.node("Sub", root, added.weight(torch.tensor(SOFT))))


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A layer of a weight `[D, W]` and a bias `[W]`."""
    layer = nn.Linear(*weight.shape)
    with torch.no_grad():
        layer.weight.copy_(weight.T)
        layer.bias.copy_(torch.zeros(weight.shape[1]) if bias is None else bias)
    return layer
