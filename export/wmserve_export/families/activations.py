"""Activations that networks of several families may have, by one name each, whatever their settings call them.

Settings name an activation as transformers does (``gelu``, ``gelu_new``, ``silu``), by a class of torch
(``torch.nn.GELU``), or as Hydra writes a class: ``{"_target_": "torch.nn.SiLU"}``, ``{"_target_":
"hydra.utils.get_class", "path": "torch.nn.SiLU"}``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from wmserve_export.families import FamilyError

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "relu6", "leaky_relu", "silu", "mish", "tanh", "elu"]


def quick_gelu(values: Tensor) -> Tensor:
    """``x sigmoid(1.702 x)``."""
    return values * torch.sigmoid(1.702 * values)


def mish(values: Tensor) -> Tensor:
    """``x tanh(log(1 + exp(x)))``, written out: not every runtime has it."""
    return values * torch.tanh(functional.softplus(values))


FUNCTIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "quick_gelu": quick_gelu,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "leaky_relu": functional.leaky_relu,
    "silu": functional.silu,
    "mish": mish,
    "tanh": torch.tanh,
    "elu": functional.elu,
}
"""With the constants that torch's classes have by default."""
SPELLED: Mapping[str, Activation] = {
    **{name: name for name in get_args(Activation)},
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "swish": "silu",
    "leakyrelu": "leaky_relu",
}
"""By the names of transformers, and of torch's classes in lower case."""


def activation(said: Any, where: str) -> Activation:
    """The activation that a setting names; FamilyError where it cannot be exported, naming the setting."""
    name, options = named(said)
    known = SPELLED.get(name.rpartition(".")[2].lower())
    if known == "gelu" and options.get("approximate") == "tanh":
        known, options = "gelu_tanh", {}
    if options := {key: value for key, value in options.items() if key not in ("inplace", "approximate")}:
        raise FamilyError(
            f"{where}: {name} with {', '.join(sorted(options))} cannot be exported, only torch's defaults"
        )
    if known is None:
        raise FamilyError(f"{where}: activation {name} cannot be exported; known are {', '.join(get_args(Activation))}")
    return known


def named(said: Any) -> tuple[str, Mapping[str, Any]]:
    """Name of what a setting says, a word or Hydra's mapping, and the options that are said with it."""
    if not isinstance(said, Mapping):
        return str(said), {}
    target = str(said.get("_target_", ""))
    if target.startswith("hydra.utils.get_"):
        return str(said.get("path", "")), {}
    return target, {str(key): value for key, value in said.items() if not str(key).startswith("_")}
