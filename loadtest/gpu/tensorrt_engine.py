"""The cost graph as a TensorRT engine, built on the device itself by what exports use; TensorRT-RTX alike.

Networks are strongly typed, so a precision is in the ONNX file: float32, or products in bf16 or fp16 as
:mod:`loadtest.gpu.precision` makes them. The free axis is `B`, the rows of a batch; `S` is 1.

Axes: `R` rows, `T` context frames, `D` latent dimension, `H` model steps, `N` environment steps, `A` action dimension.
"""

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from wmserve_export.engines import Engine, input_axes, output_axes
from wmserve_export.families.lewm import Lewm

from loadtest.gpu.precision import Precision
from loadtest.gpu.skipped import Skipped

if TYPE_CHECKING:
    from wmserve_export.tensorrt.builder import Profile
    from wmserve_export.tensorrt.library import Library

PROFILES = ((1, 128, 600), (601, 2400, 9600))
"""Fewest, most likely and most rows of a call: one set of kernels for one plan, one for batches."""
HORIZON = 5


def build(world: Lewm, precision: Precision) -> "RowEngine":
    """Build an engine; Skipped where there is no TensorRT, or where it refuses the graph or the device."""
    if not torch.cuda.is_available():
        raise Skipped("TensorRT needs a CUDA device")
    # These need onnx, which a bare machine may lack.
    from wmserve_export.external_data import ExternalData
    from wmserve_export.onnx_graphs import export_engine
    from wmserve_export.tensorrt import builder
    from wmserve_export.tensorrt.library import BuildError

    profiles, options = [profile(world, sizes) for sizes in PROFILES], builder.BuildOptions(tf32=precision.tf32)
    try:
        found = installed()
        with tempfile.TemporaryDirectory() as folder:
            data = ExternalData(Path(folder))
            model = export_engine(copy.deepcopy(world).cpu(), Engine("plan", HORIZON), data)
            return RowEngine(found, world, builder.build(found, model, profiles, options))
    except BuildError as error:
        raise Skipped(str(error)) from error


def installed() -> "Library":
    """The first TensorRT that can be imported; BuildError where there is none."""
    from wmserve_export.tensorrt import library

    try:
        return library.load("tensorrt")
    except library.BuildError:
        return library.load("tensorrt-rtx")


def profile(world: Lewm, rows: tuple[int, int, int]) -> "Profile":
    """Shapes of every input for some numbers of rows."""
    axes = input_axes(world.config, "plan", HORIZON)
    return {name: (shape(own, rows[0]), shape(own, rows[1]), shape(own, rows[2])) for name, own in axes.items()}


def shape(axes: tuple[str | int, ...], rows: int) -> tuple[int, ...]:
    """Axes with their letters replaced: `B` by the rows, `S` by 1."""
    return tuple({"B": rows, "S": 1}.get(axis, 1) if isinstance(axis, str) else axis for axis in axes)


class RowEngine:
    """Runs an engine on torch's tensors and torch's stream; can be captured in a CUDA graph once it has run."""

    def __init__(self, found: "Library", world: Lewm, plan: bytes) -> None:
        from wmserve_export.tensorrt.library import log

        self.world = world
        self.runtime = found.module.Runtime(log(found.module))
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise Skipped("TensorRT's engine does not run on this device; its log says why")
        self.contexts: dict[int, Any] = {}

    def context(self, rows: int) -> Any:
        """What an engine runs in, one for each number of rows: shapes must not change while a graph is captured."""
        if rows not in self.contexts:
            context, stream = self.engine.create_execution_context(), torch.cuda.current_stream()
            profile = next(index for index, sizes in enumerate(PROFILES) if rows <= sizes[-1])
            if not context.set_optimization_profile_async(profile, stream.cuda_stream):
                raise Skipped(f"TensorRT refuses optimization profile {profile}")
            stream.synchronize()
            self.contexts[rows] = context
        return self.contexts[rows]

    def __call__(self, context: Tensor, actions: Tensor, goal: Tensor) -> tuple[Tensor, ...]:
        """Context `[R, T, D]`, actions `[R, 1, N, A]`, goal `[R, D]` -> distances `[R, 1, H]`, disagreement."""
        rows = len(actions)
        running = self.context(rows)
        given = {"context": context.contiguous(), "goal": goal.contiguous(), "actions": actions.contiguous()}
        axes = output_axes(self.world.config, "plan", HORIZON)
        answers = {name: torch.empty(shape(own, rows), device=actions.device) for name, own in axes.items()}
        for name, tensor in given.items():
            running.set_input_shape(name, tuple(tensor.shape))
        for name, tensor in (given | answers).items():
            running.set_tensor_address(name, tensor.data_ptr())
        if not running.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise Skipped("TensorRT's engine does not run; its log says why")
        return tuple(answers.values())
