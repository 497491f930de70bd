"""The formats of TD-MPC2 checkpoints, as tensors by the names that are used here.

    stable-worldmodel   ``TDMPC2``'s state dict, or the whole module after ``wmserve convert``; its settings are those
                        of its training (``scripts/train/config/tdmpc2.yaml``)
    tdmpc2              the authors' own, ``{"model": state dict}``: worlds of one task that observe states; critics are
                        stacked, and in older files numbered

Of the authors' own, plans draw two critics and an action of the policy; here they are the mean of all critics, for the
policy's mean action.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from wmserve_export.families import FamilyError

SWM_ENCODER = re.compile(r"^extra_encoders\.(\w+)\.2\.(weight|bias)$")
"""In stable-worldmodel the norm after an encoder's last layer is a layer of its own."""
NOT_NEEDED = ("target_qs.", "scale.")
"""What only training needs."""
OWN_PARTS = ("weight", "bias", "ln.weight", "ln.bias")
"""Of a stacked layer, in the order of older files."""
OWN_MODULES = {"_dynamics.": "dynamics.", "_reward.": "reward.", "_pi.": "pi.", "_encoder.": "extra_encoders."}
NOT_READ = {
    "_task_emb.": "it is of several tasks",
    "_termination.": "its episodes may end early",
    "_encoder.rgb.": "it observes stacked frames",
}
"""What only some of the authors' own checkpoints hold."""


def is_own(tensors: Mapping[str, Tensor]) -> bool:
    """Whether it is of the authors' own format."""
    return any(name.startswith("_dynamics.") for name in tensors)


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names that are used here; FamilyError for those of a model that is not read."""
    if is_own(tensors):
        return renamed_own(tensors)
    return {
        SWM_ENCODER.sub(r"extra_encoders.\1.1.ln.\2", name): tensor
        for name, tensor in tensors.items()
        if not name.startswith(NOT_NEEDED)
    }


def renamed_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same of the authors' own format."""
    for prefix, why in NOT_READ.items():
        if any(name.startswith(prefix) for name in tensors):
            raise FamilyError(f"the checkpoint has {prefix}*: {why}, which is not read")
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for prefix, ours in OWN_MODULES.items():
            if name.startswith(prefix):
                found[ours + name.removeprefix(prefix)] = tensor
        if name.startswith("_Qs.params."):
            part = critic_part(name.removeprefix("_Qs.params."))
            found |= {f"qs.{critic}.{part}": one for critic, one in enumerate(torch.unbind(tensor))}
    return found


def critic_part(name: str) -> str:
    """``<layer>.<part>`` of a stacked tensor, whose name is that or its number."""
    return f"{int(name) // 4}.{OWN_PARTS[int(name) % 4]}" if name.isdecimal() else name
