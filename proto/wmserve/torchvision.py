"""Lets other people's packages import torchvision beside a build of torch that it was not made for.

Its wheel is a CUDA build on some platforms, and looks on import for two operators that it itself would bring to a CUDA
build of torch alone.
"""

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_LIBRARIES: list[Any] = []
"""What was declared lasts as long as its library does."""


def declare_operators() -> None:
    """Declare the two operators, where they are missed; needs torch. Call it before anything imports torchvision."""
    import torch

    spec = find_spec("torchvision")
    if torch.version.cuda is not None or spec is None or "torchvision" in sys.modules:
        return
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not any(re.search(r"__version__ = .*\+cu\d", (folder / "version.py").read_text()) for folder in folders):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _LIBRARIES.append(library)
