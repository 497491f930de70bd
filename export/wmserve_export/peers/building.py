"""Builds modules of families' own packages from settings, as Hydra would, but only what is known by name.

Hydra calls whatever a configuration names. Here a name is looked up in `stable_worldmodel.wm`, among a few classes of
torch and transformers, and nowhere else.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wmserve_export.families.images import Statistics
from wmserve_export.families.published import Published
from wmserve_export.peers import MisfitError, NoPeerError

OF_TORCH = frozenset(
    ("BatchNorm1d", "ELU", "GELU", "Identity", "LayerNorm", "LeakyReLU", "Mish", "RMSNorm", "ReLU", "ReLU6", "SiLU")
) | {"Tanh"}
OF_TRANSFORMERS = frozenset(("Dinov2Config", "Dinov2Model", "ViTConfig", "ViTModel"))
OLDER_NAMES = {"JEPA": "LeWM", "ARPredictor": "Predictor"}
"""Classes of stable-worldmodel that were called otherwise."""
VIT_SIZES = {
    "tiny": {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3},
    "small": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "huge": {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16},
}


def vit_hf(
    size: str = "tiny",
    patch_size: int = 16,
    image_size: int = 224,
    pretrained: bool = False,
    use_mask_token: bool = True,
    **settings: Any,
) -> nn.Module:
    """Hugging Face's ViT as ``stable_pretraining.backbone.utils.vit_hf`` makes it: settings count before the size.

    Here, because that package brings all of a training's with it. What is pretrained is in the checkpoint.
    """
    from transformers import ViTConfig, ViTModel

    del pretrained
    if size not in VIT_SIZES:
        raise NoPeerError(f"config.json says size {size!r}, which stable-pretraining does not know")
    sizes = VIT_SIZES[size]
    known = {**sizes, "intermediate_size": 4 * sizes["hidden_size"], "image_size": image_size, "patch_size": patch_size}
    config = called(ViTConfig, {**known, **settings})
    model: nn.Module = ViTModel(config, add_pooling_layer=False, use_mask_token=use_mask_token)
    return model


def looked_up(name: str) -> Callable[..., Any]:
    """What a dotted name means, if it is one of the known; NoPeerError for all others."""
    module, _, last = name.rpartition(".")
    last = OLDER_NAMES.get(last, last)
    if last == "vit_hf" and name.startswith("stable_pretraining."):
        return vit_hf
    if name.startswith("torch.nn.") and last in OF_TORCH:
        found: Any = getattr(torch.nn, last)
    elif name.startswith("transformers.") and last in OF_TRANSFORMERS:
        found = getattr(importlib.import_module("transformers"), last)
    elif name.startswith("stable_worldmodel.wm."):
        try:
            found = getattr(importlib.import_module(module), last)
        except (ImportError, AttributeError):
            raise NoPeerError(f"config.json builds {name}, which stable-worldmodel does not have") from None
        if not (inspect.isclass(found) and issubclass(found, nn.Module)):
            raise NoPeerError(f"config.json builds {name}, which is no module")
    else:
        raise NoPeerError(f"config.json builds {name}, which is not of its family's own package")
    assert callable(found)
    return found


def instantiated(said: Any) -> Any:
    """What settings describe: mappings with a ``_target_`` are called, with what they hold; all else stays."""
    if isinstance(said, list):
        return [instantiated(part) for part in said]
    if not isinstance(said, Mapping):
        return said
    held = {key: instantiated(value) for key, value in said.items() if not str(key).startswith("_")}
    if "_target_" not in said:
        return held
    target = str(said["_target_"])
    if target.startswith("hydra.utils.get_"):
        return looked_up(str(said.get("path", "")))
    return partial(looked_up(target), **held) if said.get("_partial_") else called(looked_up(target), held)


def called(target: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call it; NoPeerError where it does not take these arguments."""
    try:
        return target(**arguments)
    except (TypeError, ValueError, AssertionError, KeyError, AttributeError) as error:
        raise NoPeerError(f"{getattr(target, '__name__', target)} cannot be built from config.json: {error}") from None


def module_of(said: Any, usual: Callable[..., Any], shown: Mapping[str, Any]) -> Any:
    """A module of the settings; those that name their class as they are, others by the usual one.

    What settings leave out is taken of what tensors show, where the class has nothing for it, or was not named.
    """
    said = said if isinstance(said, Mapping) else {}
    named = "_target_" in said
    target = looked_up(str(said["_target_"])) if named else usual
    takes = inspect.signature(target).parameters
    anything = any(part.kind is part.VAR_KEYWORD for part in takes.values())
    held = {key: instantiated(value) for key, value in said.items() if not str(key).startswith("_")}
    if not named:
        # Of a converted module, `dropout` is a module with numbers of its own, and not the number that made it.
        held = {
            key: value for key, value in held.items() if (key in takes or anything) and not isinstance(value, Mapping)
        }
    for key, value in shown.items():
        left_out = key not in takes or takes[key].default is inspect.Parameter.empty or not named
        if key not in held and left_out and (key in takes or (anything and not named)):
            held[key] = value
    return called(target, held)


def part(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What settings say of a part; nothing where that is no mapping."""
    said = settings.get(name)
    return dict(said) if isinstance(said, Mapping) else {}


def settings_of(source: Published) -> Mapping[str, Any]:
    """Settings of a checkpoint, or, of a converted module, those that its parts carried; NoPeerError without any."""
    if source.settings:
        return source.settings
    if not source.attributes:
        raise NoPeerError("the checkpoint has no config.json to build its family's own model from")
    found: dict[str, Any] = {}
    for name, value in source.attributes.items():
        *path, last = name.split(".")
        inner = found
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                break
        else:
            inner[last] = value
    return found


def load(model: nn.Module, tensors: Mapping[str, Tensor], unused: Iterable[str] = ()) -> nn.Module:
    """Give a model its tensors and put it into eval mode; MisfitError where they do not fit, but for the unused."""
    skipped = tuple(unused)
    own = model.state_dict()
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(skipped)}
    wanted = {name for name in own if not name.startswith(skipped)}
    if differing := sorted(wanted ^ kept.keys()):
        raise MisfitError(f"{differing[0]} and {len(differing) - 1} more are in one of them alone")
    for name in sorted(kept):
        if own[name].shape != kept[name].shape:
            shapes = f"{list(kept[name].shape)} in the checkpoint, {list(own[name].shape)} by the settings"
            raise MisfitError(f"{name} is {shapes}")
    model.load_state_dict(kept, strict=False)
    return model.float().eval()


def prepared(frames: Tensor, statistics: tuple[Statistics, Statistics]) -> Tensor:
    """Frames `[..., h, w, 3]` uint8 -> pixels `[..., 3, h, w]`, by statistics of pixels in 0..1."""
    mean, std = (torch.tensor(part) for part in statistics)
    return ((frames / 255.0 - mean) / std).movedim(-1, -3)
