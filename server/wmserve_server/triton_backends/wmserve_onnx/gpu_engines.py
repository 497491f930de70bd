"""Engines that were built for certain GPUs: whether this machine runs them, and how a verb's model calls them.

Full TensorRT's are Triton models of NVIDIA's own backend, and a verb's model calls them inside Triton. Those of
TensorRT-RTX are checked here and not run yet.
"""

import ctypes
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from gpus import compute_capabilities

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]


class Refused(RuntimeError):
    """Engines that this machine does not run; the message is for callers: it names no path."""


def check_machine(target: Mapping[str, Any]) -> None:
    """Refused unless every GPU of this machine is one that the engines were built for; those for a CPU need none."""
    built_for = target["compute_capabilities"]
    if not built_for:
        return
    here = compute_capabilities()
    if not here or set(here) - set(built_for):
        there = f"has {' and '.join(sorted(set(here)))}" if here else "has none"
        raise Refused(f"needs an NVIDIA GPU of compute capability {' or '.join(built_for)}, this machine {there}")


def check_builder(target: Mapping[str, Any]) -> None:
    """Refused where another version of TensorRT is installed than that which built the engines: they read no others'.

    Where none is found, Triton's own backend says what it lacks.
    """
    name, _, built_by = target["builder"].partition(" ")
    here = VERSIONS[name](built_by) if name in VERSIONS else None
    if here is not None and here.split(".")[:3] != built_by.split(".")[:3]:
        raise Refused(f"needs {name} {built_by}, this machine has {here}")


def tensorrt_version(built_by: str) -> str | None:
    """Version of the TensorRT that Triton's backend uses, if its library can be found; major, minor and patch."""
    try:
        found = ctypes.CDLL(f"libnvinfer.so.{built_by.partition('.')[0]}").getInferLibVersion()
    except (OSError, AttributeError):
        return None
    return f"{found // 10000}.{found // 100 % 100}.{found % 100}"


def tensorrt_rtx_version(_: str) -> str | None:
    """Version of the TensorRT-RTX that this Python has, if it has one."""
    try:
        return importlib.metadata.version("tensorrt-rtx-cu13-bindings")
    except importlib.metadata.PackageNotFoundError:
        return None


VERSIONS = {"tensorrt": tensorrt_version, "tensorrt-rtx": tensorrt_rtx_version}


def check_runs(target: Mapping[str, Any]) -> None:
    """Refused for engines that nothing runs yet."""
    if target["name"] == "tensorrt-rtx":
        raise Refused(f"engines of {target['builder']} are built and checked, but not run yet; export it for tensorrt")


@dataclass(frozen=True)
class Tensor:
    """Name of an output, as ONNX Runtime says it."""

    name: str


class ModelEngine:
    """An engine that is a Triton model of its own; has the methods of an ONNX session that are used here."""

    def __init__(self, model: str, outputs: Iterable[str], to_tensor: Callable[[str, Array], Any]) -> None:
        self._model, self._to_tensor = model, to_tensor
        self._outputs = [Tensor(name) for name in outputs]

    def get_inputs(self) -> list[Tensor]:
        """Empty: what is asked for here is how to warm it up, and Triton does that."""
        return []

    def get_outputs(self) -> list[Tensor]:
        """Outputs by name."""
        return self._outputs

    def run(self, names: list[str] | None, tensors: Tensors) -> list[Array]:
        """Outputs of those names, or all."""
        names = names or [output.name for output in self._outputs]
        request = pb_utils.InferenceRequest(
            model_name=self._model,
            requested_output_names=names,
            inputs=[self._to_tensor(name, array) for name, array in tensors.items()],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            raise RuntimeError(response.error().message())
        return [np.from_dlpack(pb_utils.get_output_tensor_by_name(response, name)) for name in names]
