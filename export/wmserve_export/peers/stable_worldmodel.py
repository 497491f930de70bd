"""What the families of stable-worldmodel have in common, and its import."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from wmserve.torchvision import declare_operators
from wmserve.world import ActionSpec, Axis

declare_operators()  # before the package, which imports torchvision

from stable_worldmodel.wm.lewm import LeWM as LeWM  # noqa: E402
from stable_worldmodel.wm.lewm.module import MLP as MLP  # noqa: E402
from stable_worldmodel.wm.lewm.module import Embedder as Embedder  # noqa: E402
from stable_worldmodel.wm.lewm.module import Predictor as Predictor  # noqa: E402
from stable_worldmodel.wm.pldm import PLDM as PLDM  # noqa: E402
from stable_worldmodel.wm.prejepa import PreJEPA as PreJEPA  # noqa: E402
from stable_worldmodel.wm.prejepa.module import CausalPredictor as CausalPredictor  # noqa: E402
from stable_worldmodel.wm.prejepa.module import Embedder as _PatchEmbedder  # noqa: E402
from stable_worldmodel.wm.tdmpc2 import TDMPC2 as TDMPC2  # noqa: E402

PatchEmbedder = _PatchEmbedder
"""Of a ``PreJEPA``; a LeWM's has the same name and is another."""


def scored(values: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Values `[..., axes]` in environment units, less their mean, over their standard deviation."""
    mean, std = (torch.tensor([getattr(axis, name) for axis in axes]) for name in ("mean", "std"))
    return (values - mean) / std


def spread(values: Tensor, widths: Mapping[str, int]) -> dict[str, Tensor]:
    """What is felt, `[..., Q]`, as encoders take it that are so wide: each its part, in their order."""
    found, start = dict[str, Tensor](), 0
    for name, width in widths.items():
        found[name], start = values[..., start : start + width], start + width
    return found


def blocks(actions: Tensor, spec: ActionSpec) -> Tensor:
    """Actions `[M, N, A]` in environment units as training gives them to a model, `[M, steps, block x A]`."""
    return scored(actions, spec.axes).reshape(len(actions), -1, spec.action_block * len(spec.axes))
