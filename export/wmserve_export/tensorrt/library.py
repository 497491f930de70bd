"""The TensorRT that is installed: the full one, or TensorRT for RTX, whose wheels build engines without a GPU.

Both have the same Python interface. Licences of both are NVIDIA's own.
"""

import importlib
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from wmserve.world import TargetName

MODULES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
INSTALL = {
    "tensorrt": "TensorRT comes with NVIDIA's containers, or from NVIDIA's own package index",
    "tensorrt-rtx": "run: pip install 'wmserve[tensorrt-rtx]'",
}


class BuildError(RuntimeError):
    """An engine cannot be built; the message says what to do."""


@dataclass(frozen=True)
class Library:
    """An importable TensorRT."""

    name: TargetName
    module: ModuleType

    @property
    def builder(self) -> str:
        """As a contract names it; an engine is read by the version that built it and no other."""
        return f"{self.name} {self.module.__version__}"


def load(name: TargetName) -> Library:
    """The library of a target; BuildError says how to get it where it cannot be imported."""
    reasons = []
    for module in MODULES[name]:
        try:
            return Library(name, importlib.import_module(module))
        except (ImportError, OSError, RuntimeError) as error:  # also a missing library, or a driver too old
            reasons.append(str(error).splitlines()[0])
    raise BuildError(f"{name} cannot be imported ({'; '.join(reasons)}); {INSTALL[name]}")


@cache
def log(trt: ModuleType) -> Any:
    """The logger of a library, which has one in a process: it keeps what went wrong in `errors`."""

    class Log(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)

    return Log()
