"""The cost graph as a TensorRT engine, built from ONNX on the device itself; TensorRT and TensorRT for RTX alike.

Networks are strongly typed, so a precision is in the ONNX file: float32, or products in bf16 or fp16 as
:mod:`loadtest.gpu.precision` makes them. The free axis is `B`, the rows of a batch; `S` is 1.

Axes: `R` rows, `T` context frames, `D` latent dimension, `H` model steps, `N` environment steps, `A` action dimension.
"""

import copy
import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from wmserve_export.engines import Engine, input_axes, output_axes
from wmserve_export.families.lewm import Lewm

from loadtest.gpu.precision import Precision
from loadtest.gpu.skipped import Skipped

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
PROFILES = ((1, 128, 600), (601, 2400, 9600))
"""Fewest, most likely and most rows of a call: one set of kernels for one plan, one for batches."""
HORIZON = 5


def load() -> ModuleType:
    """The first TensorRT that can be imported."""
    reasons = []
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:  # also a missing library, or a driver too old
            reasons.append(str(error).splitlines()[0])
    raise Skipped("; ".join(reasons))


def build(world: Lewm, precision: Precision) -> "RowEngine":
    """Build an engine; Skipped where there is no TensorRT, or where it refuses the graph or the device."""
    trt = load()
    if not torch.cuda.is_available():
        raise Skipped("TensorRT needs a CUDA device")
    from wmserve_export.onnx_graphs import export_engine  # needs onnx, which a bare machine may lack

    model = export_engine(copy.deepcopy(world).cpu(), Engine("plan", HORIZON))
    return RowEngine(trt, world, serialized(trt, model, world, precision))


def serialized(trt: ModuleType, model: bytes, world: Lewm, precision: Precision) -> Any:
    """An engine's bytes from those of an ONNX file."""
    builder = trt.Builder(logger(trt))
    strongly = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # the only kind in newer versions
    network = builder.create_network(0 if strongly is None else 1 << int(strongly))
    parser = trt.OnnxParser(network, logger(trt))
    if not parser.parse(model):
        raise Skipped(f"TensorRT does not read the graph: {parser.get_error(0)}")
    config = builder.create_builder_config()
    if not precision.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    for sizes in PROFILES:
        profile = builder.create_optimization_profile()
        for name, shapes in inputs(world, sizes).items():
            profile.set_shape(name, *shapes)
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Skipped("TensorRT builds no engine of the graph on this device; its log says why")
    return plan


def inputs(world: Lewm, rows: tuple[int, ...]) -> dict[str, list[tuple[int, ...]]]:
    """Shapes of every input for some numbers of rows."""
    axes = input_axes(world.config, "plan", HORIZON)
    return {name: [shape(own, count) for count in rows] for name, own in axes.items()}


def shape(axes: tuple[str | int, ...], rows: int) -> tuple[int, ...]:
    """Axes with their letters replaced: `B` by the rows, `S` by 1."""
    return tuple({"B": rows, "S": 1}.get(axis, 1) if isinstance(axis, str) else axis for axis in axes)


def logger(trt: ModuleType) -> Any:
    """A logger that speaks of errors only; there is one in a process."""
    global LOGGER
    LOGGER = LOGGER or trt.Logger(trt.Logger.ERROR)
    return LOGGER


LOGGER: Any = None


class RowEngine:
    """Runs an engine on torch's tensors and torch's stream; can be captured in a CUDA graph once it has run."""

    def __init__(self, trt: ModuleType, world: Lewm, plan: Any) -> None:
        self.world = world
        self.runtime = trt.Runtime(logger(trt))
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
