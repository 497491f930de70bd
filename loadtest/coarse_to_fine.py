"""A trial: score all candidates in int8, and the best of them again in float32, in one engine of ONNX Runtime.

    actions -> cost in int8 -> the `keep` best -> their actions -> cost in float32 -> in place of the int8 ones

A search keeps its elites and forgets the rest, so only the order at the top matters, and rounding moves a candidate by
a few places only. Not part of the exporter: its parity gate holds all candidates to float32, and this answers for the
best alone.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import compose, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from wmserve_export.onnx_graphs import IR_VERSION


def coarse_to_fine(model: bytes, keep: int) -> bytes:
    """A cost engine that is float32 for its `keep` best candidates; the last step's distance decides."""
    exact = onnx.load_from_string(model)
    coarse = compose.add_prefix(quantised(model), "coarse_", rename_inputs=False)
    fine = compose.add_prefix(exact, "fine_", rename_inputs=False)
    for node in fine.graph.node:
        node.input[:] = ["chosen" if name == "actions" else name for name in node.input]
    nodes = [*coarse.graph.node, *choose(), *fine.graph.node, *put_back()]
    outputs = [output for output in exact.graph.output if output.name == "goal_distance"]
    parts = [*coarse.graph.initializer, *fine.graph.initializer, *constants(keep)]
    graph = helper.make_graph(nodes, "coarse_to_fine", list(exact.graph.input), outputs, parts)
    opsets = {entry.domain: entry for entry in (*coarse.opset_import, *fine.opset_import)}
    return helper.make_model(graph, opset_imports=list(opsets.values()), ir_version=IR_VERSION).SerializeToString()


def quantised(model: bytes) -> onnx.ModelProto:
    """The engine with dynamic int8 products; basic optimisation comes first, since it makes weights constants."""
    with tempfile.TemporaryDirectory() as folder:
        basic, small = Path(folder) / "basic.onnx", Path(folder) / "int8.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(basic)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        settings = {"weight_type": QuantType.QInt8, "per_channel": True, "op_types_to_quantize": ["MatMul"]}
        quantize_dynamic(basic, small, **settings)
        return onnx.load(small)


def choose() -> list[onnx.NodeProto]:
    """Nodes from coarse distances `[B, S, H]` to the actions `[B, keep, N, A]` of the best."""
    return [
        helper.make_node("Gather", ["coarse_goal_distance", "last"], ["cost"], axis=2),
        helper.make_node("Shape", ["cost"], ["cost_shape"], start=1),
        helper.make_node("Min", ["cost_shape", "keep"], ["kept"]),
        helper.make_node("TopK", ["cost", "kept"], ["best", "rows"], axis=1, largest=0),
        helper.make_node("Unsqueeze", ["rows", "minus_one"], ["index"]),
        helper.make_node("GatherND", ["actions", "index"], ["chosen"], batch_dims=1),
    ]


def put_back() -> list[onnx.NodeProto]:
    """Nodes that put fine distances `[B, keep, H]` in the place of coarse ones."""
    return [
        helper.make_node("Shape", ["fine_goal_distance"], ["fine_shape"]),
        helper.make_node("Expand", ["index", "fine_shape"], ["places"]),
        helper.make_node(
            "ScatterElements", ["coarse_goal_distance", "places", "fine_goal_distance"], ["goal_distance"], axis=1
        ),
    ]


def constants(keep: int) -> list[onnx.TensorProto]:
    """Constants of the nodes above."""
    values = {"last": np.array(-1), "keep": np.array([keep]), "minus_one": np.array([-1])}
    return [numpy_helper.from_array(value.astype(np.int64), name) for name, value in values.items()]
