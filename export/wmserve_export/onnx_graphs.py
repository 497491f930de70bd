"""Turns the graphs of a world into ONNX files: free batch, candidates and image size; one file per horizon.

The files say nothing of the machine that made them (torch leaves stack traces in a graph's metadata), and the same
checkpoint gives the same bytes.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import onnx
import torch
from torch import nn
from torch.export import Dim

from wmserve_export.engines import Engine, input_axes, output_axes
from wmserve_export.examples import NO_EXAMPLES
from wmserve_export.families import Encoder
from wmserve_export.graphs import GRAPHS

OPSET = 20
IR_VERSION = 10
"""Newest that ONNX Runtime, OpenVINO and TensorRT all read."""

SAMPLE = {"B": 2, "S": 3, "h": 72, "w": 80}
"""Sizes to trace with: no two alike and none special, so that no graph holds by accident for these alone."""


def graph(family: Encoder, engine: Engine) -> nn.Module:
    """The torch side of an engine."""
    return GRAPHS[engine.graph](family).eval()


def export_engine(family: Encoder, engine: Engine) -> bytes:
    """Trace one engine to ONNX and check it."""
    tensors = input_axes(family.config, engine.graph, engine.horizon)
    inputs = NO_EXAMPLES.inputs(family.config, engine, SAMPLE, torch.Generator().manual_seed(0))
    dims = {axis: Dim(axis, min=1) for axes in tensors.values() for axis in axes if isinstance(axis, str)}
    dynamic = {n: {i: dims[a] for i, a in enumerate(axes) if isinstance(a, str)} for n, axes in tensors.items()}
    outputs = list(output_axes(family.config, engine.graph, engine.horizon))
    return traced(graph(family, engine), inputs, outputs, dynamic, f"{family.config.name}_{engine.key}")


def traced(
    module: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: list[str],
    dynamic: Mapping[str, Mapping[int, Any]],
    name: str,
) -> bytes:
    """Trace a module with example inputs by name, whose axes in `dynamic` are free, and check what comes out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own internals
        program = torch.onnx.export(
            module,
            args=(),
            kwargs=dict(inputs),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=dict(dynamic),
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model = without_traces(program.model_proto, name)
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
