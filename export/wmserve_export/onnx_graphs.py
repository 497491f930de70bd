"""Turns the graphs of a world into ONNX files: free batch, candidates and image size; one file per horizon.

Weights of large engines lie beside them (:mod:`wmserve_export.external_data`).

The files say nothing of the machine that made them (torch leaves stack traces in a graph's metadata), and the same
checkpoint gives the same bytes. Nodes are called by the module that they come from, so that a profile can be read.

No other simplifier has a pass over them: onnxslim and onnxsim take a few nodes of these graphs away, and no time.
"""

import ast
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import nn
from torch.export import Dim

from wmserve_export.engines import Engine, input_axes, output_axes
from wmserve_export.examples import NO_EXAMPLES
from wmserve_export.external_data import ExternalData
from wmserve_export.families import Encoder
from wmserve_export.graphs import GRAPHS, PATHS, ActionGraph

OPSET = 20
IR_VERSION = 10
"""Newest that ONNX Runtime, OpenVINO and TensorRT all read."""

SAMPLE = {"B": 2, "S": 3, "h": 72, "w": 80}
"""Sizes to trace with: no two alike and none special, so that no graph holds by accident for these alone."""


def graph(family: Encoder, engine: Engine) -> nn.Module:
    """The torch side of an engine."""
    return GRAPHS[engine.graph](family).eval()


def export_engine(family: Encoder, engine: Engine, data: ExternalData) -> Path:
    """Trace one engine to ONNX, in the folder of `data`, and check it."""
    tensors = input_axes(family.config, engine.graph, engine.horizon)
    inputs = NO_EXAMPLES.inputs(family.config, engine, SAMPLE, torch.Generator().manual_seed(0))
    dims = {axis: Dim(axis, min=1) for axes in tensors.values() for axis in axes if isinstance(axis, str)}
    dynamic = {n: {i: dims[a] for i, a in enumerate(axes) if isinstance(a, str)} for n, axes in tensors.items()}
    outputs = list(output_axes(family.config, engine.graph, engine.horizon))
    module = graph(family, engine)
    if shown := isinstance(module, ActionGraph):
        module.shows_paths = True
        outputs.append(PATHS)
    model = trace(module, inputs, outputs, dynamic)
    if shown:
        model.graph.outputs.pop()  # the tensor keeps its name
    data.take(model)
    return save(ir.to_proto(model), f"{family.config.name}_{engine.key}", data.folder / engine.file)


def traced(
    module: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: list[str],
    dynamic: Mapping[str, Mapping[int, Any]],
    name: str,
) -> bytes:
    """A small module as an ONNX file, checked; see :func:`trace`."""
    content = serialized(ir.to_proto(trace(module, inputs, outputs, dynamic)), name)
    onnx.checker.check_model(content, full_check=True)
    return content


def trace(
    module: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: list[str],
    dynamic: Mapping[str, Mapping[int, Any]],
) -> ir.Model:
    """Trace a module with example inputs by name, whose axes in `dynamic` are free; weights stay where they are."""
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
    return with_readable_names(program.model)


def save(model: onnx.ModelProto, name: str, file: Path) -> Path:
    """Write an engine, whose weights may lie in a data file beside it, and check it."""
    file.write_bytes(serialized(model, name))
    onnx.checker.check_model(file, full_check=True)
    return file


def serialized(model: onnx.ModelProto, name: str) -> bytes:
    """The bytes of an engine's file, always the same."""
    return without_traces(model, name).SerializeToString(deterministic=True)


def with_readable_names(model: ir.Model) -> ir.Model:
    """Call nodes as `predictor.blocks.3.out/MatMul`; from the second of a name on, a number follows."""
    seen = Counter[str]()
    for node in model.graph:
        scope = module_path(node)
        name = f"{scope}/{node.op_type}" if scope else node.op_type
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"
    return model


def module_path(node: ir.Node) -> str:
    """Path of the innermost module that a node comes from, as the exporter notes it; empty for the graph itself."""
    scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))[:-1]  # last: the operation
    known = [scope for scope in scopes if isinstance(scope, str) and not scope.startswith("_")]
    return known[-1].removeprefix("family").removeprefix(".") if known else ""


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
