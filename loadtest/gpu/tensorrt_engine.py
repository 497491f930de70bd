"""A plan's cost graph as a TensorRT engine, built on the device itself by what exports use; TensorRT-RTX alike.

Networks are strongly typed, so a precision is in the ONNX file. Free axes are `B` and `S`; an engine has a profile, a
set of kernels, for each range of sizes that it is asked for.

Axes: `B` rows, `S` candidates of a row, `T` context frames, `D` latent dimension, `H` model steps, `N` environment
steps, `A` action dimension.
"""

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from wmserve.world import Dtype
from wmserve_export.engines import Axes, Engine, input_axes, output_axes
from wmserve_export.families import Family

from loadtest.gpu.skipped import Skipped

if TYPE_CHECKING:
    from wmserve_export.tensorrt.library import Library

Sizes = Mapping[str, int]
"""Of the free axes."""
Range = tuple[Sizes, Sizes, Sizes]
"""Least, most likely and largest sizes of a call."""


def build(
    world: Family, horizon: int, ranges: Sequence[Range], tf32: bool = True, dtype: Dtype = "float32"
) -> "PlanEngine":
    """Build an engine; Skipped where there is no TensorRT, or where it refuses the graph or the device.

    Products are in `dtype` where they are not of a lower one already.
    """
    if not torch.cuda.is_available():
        raise Skipped("TensorRT needs a CUDA device")
    # These need onnx, which a bare machine may lack.
    from wmserve_export.external_data import ExternalData
    from wmserve_export.onnx_graphs import export_engine
    from wmserve_export.tensorrt import builder, half
    from wmserve_export.tensorrt.library import BuildError

    asked, profiles = input_axes(world.config, "plan", horizon), []
    for least, usual, most in ranges:
        profiles.append({n: (shape(axes, least), shape(axes, usual), shape(axes, most)) for n, axes in asked.items()})
    try:
        found = installed()
        with tempfile.TemporaryDirectory() as folder:
            model = export_engine(copy.deepcopy(world).cpu(), Engine("plan", horizon), ExternalData(Path(folder)))
            plan = builder.build(found, half.lowered(model, dtype), profiles, builder.BuildOptions(tf32=tf32))
    except BuildError as error:
        raise Skipped(str(error)) from error
    return PlanEngine(found, plan, output_axes(world.config, "plan", horizon), [most for _, _, most in ranges])


def installed() -> "Library":
    """The first TensorRT that can be imported; BuildError where there is none."""
    from wmserve_export.tensorrt import library

    try:
        return library.load("tensorrt")
    except library.BuildError:
        return library.load("tensorrt-rtx")


def shape(axes: Axes, sizes: Sizes) -> tuple[int, ...]:
    """Axes with their letters replaced."""
    return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in axes)


class PlanEngine:
    """Runs an engine on torch's tensors and torch's stream; can be captured in a CUDA graph once it has run."""

    def __init__(self, found: "Library", plan: bytes, answers: Mapping[str, Axes], most: Sequence[Sizes]) -> None:
        from wmserve_export.tensorrt.library import log

        self.answers, self.most = answers, most
        self.runtime = found.module.Runtime(log(found.module))
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise Skipped("TensorRT's engine does not run on this device; its log says why")
        self.contexts: dict[tuple[int, int], Any] = {}

    def context(self, rows: int, candidates: int) -> Any:
        """What an engine runs in, one for each size: shapes must not change while a graph is captured."""
        size = (rows, candidates)
        if size not in self.contexts:
            context, stream = self.engine.create_execution_context(), torch.cuda.current_stream()
            profile = next(at for at, most in enumerate(self.most) if rows <= most["B"] and candidates <= most["S"])
            if not context.set_optimization_profile_async(profile, stream.cuda_stream):
                raise Skipped(f"TensorRT refuses optimization profile {profile}")
            stream.synchronize()
            self.contexts[size] = context
        return self.contexts[size]

    def __call__(self, context: Tensor, actions: Tensor, goal: Tensor) -> tuple[Tensor, ...]:
        """Context `[B, T, D]`, actions `[B, S, N, A]`, goal `[B, D]` -> distances `[B, S, H]`, disagreement, more."""
        rows, candidates = actions.shape[:2]
        running, sizes = self.context(rows, candidates), {"B": rows, "S": candidates}
        given = {"context": context.contiguous(), "goal": goal.contiguous(), "actions": actions.contiguous()}
        answers = {name: torch.empty(shape(own, sizes), device=actions.device) for name, own in self.answers.items()}
        for name, tensor in given.items():
            running.set_input_shape(name, tuple(tensor.shape))
        for name, tensor in (given | answers).items():
            running.set_tensor_address(name, tensor.data_ptr())
        if not running.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise Skipped("TensorRT's engine does not run; its log says why")
        return tuple(answers.values())
