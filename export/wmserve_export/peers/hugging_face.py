"""What the families of transformers have in common."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from wmserve.torchvision import declare_operators

from wmserve_export.families.published import Published
from wmserve_export.peers import NoPeerError
from wmserve_export.peers.building import called

declare_operators()  # parts of transformers import torchvision


def configured(kind: type[Any], source: Published) -> Any:
    """A configuration of transformers, of what a config.json says of it, and nothing else in there."""
    if not source.settings:
        raise NoPeerError("the checkpoint has no config.json to build its family's own model from")
    takes = inspect.signature(kind.__init__).parameters.keys() - {"self", "kwargs"}
    return called(kind, {name: value for name, value in source.settings.items() if name in takes})


def tensors_of(source: Published, prefix: str) -> Mapping[str, Tensor]:
    """Tensors by the names of a bare model; NoPeerError for files that are not of transformers."""
    found = {name.removeprefix(f"{prefix}."): tensor for name, tensor in source.tensors.items()}
    if not any("embeddings.patch_embeddings." in name for name in found):
        raise NoPeerError("files of the authors are not of transformers")
    return found
