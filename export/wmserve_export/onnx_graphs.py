"""Turns the graphs of a world into ONNX files: free batch, candidates and image size; one file per horizon.

The files say nothing of the machine that made them (torch leaves stack traces in a graph's metadata), and the same
checkpoint gives the same bytes.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from wmserve_export.families import Family, FamilyConfig
from wmserve_export.graphs import GRAPHS, OUTPUTS, VERBS

OPSET = 20
IR_VERSION = 10
"""Newest that ONNX Runtime, OpenVINO and TensorRT all read."""

SAMPLE = {"B": 2, "S": 3, "h": 72, "w": 80}
"""Sizes to trace with: no two alike and none special, so that no graph holds by accident for these alone."""


@dataclass(frozen=True)
class Engine:
    """One ONNX file of a world."""

    verb: str
    horizon: int | None
    """Model steps it is unrolled to; None for ``encode``."""

    @property
    def file(self) -> str:
        """Name in the version folder; the engine runner finds the horizon in it."""
        return "engine.onnx" if self.horizon is None else f"horizon_{self.horizon}.onnx"

    @property
    def key(self) -> str:
        """Its key among the contract's digests."""
        return f"{self.verb}/{self.file}"


def engines(horizons: tuple[int, ...]) -> list[Engine]:
    """Every file of a world that is unrolled to `horizons`."""
    return [Engine(verb, horizon) for verb in VERBS for horizon in ((None,) if verb == "encode" else horizons)]


def input_shapes(config: FamilyConfig, engine: Engine) -> Mapping[str, tuple[str | int, ...]]:
    """Inputs of an engine in order, by name; a free dimension is its axis' letter."""
    frames: str | int = "T" if config.context_length > 1 else 1
    block, width = config.action.action_block, len(config.action.axes)
    if engine.horizon is None:
        return {"observations": ("B", frames, "h", "w", 3)}
    shapes: dict[str, tuple[str | int, ...]] = {"context": ("B", frames, config.latent_dim)}
    if engine.verb == "cost":
        shapes["goal"] = ("B", config.latent_dim)
    shapes["actions"] = ("B", "S", engine.horizon * block, width)
    if config.context_length > 1:
        shapes["action_history"] = ("B", "P", width)
    return shapes


def sample_inputs(config: FamilyConfig, engine: Engine, sizes: Mapping[str, int], seed: int) -> dict[str, Tensor]:
    """Random inputs of given sizes: noise for frames, standard normal latents, actions within the bounds."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {"T": config.context_length, "P": (config.context_length - 1) * config.action.action_block, **sizes}
    inputs: dict[str, Tensor] = {}
    for name, axes in input_shapes(config, engine).items():
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in axes]
        if name == "observations":
            inputs[name] = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        elif name in ("context", "goal"):
            inputs[name] = torch.randn(shape, generator=generator)
        else:
            low = torch.tensor([axis.low for axis in config.action.axes])
            high = torch.tensor([axis.high for axis in config.action.axes])
            inputs[name] = low + (high - low) * torch.rand(shape, generator=generator)
    return inputs


def graph(family: Family, engine: Engine) -> nn.Module:
    """The torch side of an engine."""
    return GRAPHS[engine.verb](family).eval()


def export_engine(family: Family, engine: Engine) -> bytes:
    """Trace one engine to ONNX and check it."""
    shapes = input_shapes(family.config, engine)
    inputs = sample_inputs(family.config, engine, SAMPLE, seed=0)
    dims = {axis: Dim(axis, min=1) for shape in shapes.values() for axis in shape if isinstance(axis, str)}
    dynamic = {n: {i: dims[a] for i, a in enumerate(shape) if isinstance(a, str)} for n, shape in shapes.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own internals
        program = torch.onnx.export(
            graph(family, engine),
            args=(),
            kwargs=inputs,
            input_names=list(shapes),
            output_names=list(OUTPUTS[engine.verb]),
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model = without_traces(program.model_proto, f"{family.config.name}_{engine.key}")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def without_traces(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Drop what speaks of the source: stack traces, module paths, versions of the exporter."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "wmserve", "", ""
    model.graph.name = name
    del model.metadata_props[:]
    parts: list[Any] = [model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info]
    for part in [*parts, *model.graph.input, *model.graph.output]:
        part.doc_string = ""
        del part.metadata_props[:]
    return model
