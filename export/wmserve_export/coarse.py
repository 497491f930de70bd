"""Makes the coarse engine of a plan engine: its products with weights in 8-bit integers, by ONNX Runtime's quantiser.

Activations are scaled as they come (dynamic quantisation), so no data is needed. A server scores all candidates with it
and the best again with the plan engine itself (``wmserve_server/planner/rescoring.py``).

Before that, each product is split in two: ``x W = m W + (x - m) W``, where ``m`` is the mean over a few candidates. A
search narrows its population until candidates differ by less than 1 % of what they have in common, and then rounding
``x`` to 8 bits drowns their differences. ``x - m`` is rounded in steps of its own size, however small: the error stays
a tenth of the differences, and what rounding does to ``m`` is the same for all candidates and changes no order.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from wmserve_export.external_data import ExternalData, has_external_data
from wmserve_export.onnx_graphs import save

EXACT = "fitted/"
"""What names of heads begin with that were fitted to an exported world.

They stay in float32: they are small, and take differences of what lies close together.
"""
SAMPLED = 8
"""Candidates whose mean is subtracted from all."""


def coarse_engine(exact: Path, file: Path, data: ExternalData) -> Path:
    """Write the engine in 8-bit integers, with the same inputs and outputs, at `file` in the folder of `data`."""
    with tempfile.TemporaryDirectory(dir=data.folder) as folder:
        simple, small = Path(folder) / "simple.onnx", Path(folder) / "small.onnx"
        external = simplify(exact, simple)
        # Weights that lie outside stay there: only quantiser and runtime look at them.
        model = centred(onnx.load(simple, load_external_data=False))
        onnx.save(model, simple)
        with silent():
            quantize_dynamic(
                simple,
                small,
                op_types_to_quantize=["MatMul"],
                nodes_to_exclude=[node.name for node in model.graph.node if node.name.startswith(EXACT)],
                weight_type=QuantType.QInt8,
                per_channel=not has_batched_products(simple),
                # Seven bits: processors without VNNI cut sums of two products off at 16 bits, which eight exceed.
                # So an engine answers the same on every processor.
                reduce_range=True,
                use_external_data_format=external,
            )
        coarse = moved(small, data) if external else onnx.load(small)
    drop_unused_domains(coarse)
    return save(coarse, f"{onnx.load(exact, load_external_data=False).graph.name}_coarse", file)


def moved(file: Path, data: ExternalData) -> onnx.ModelProto:
    """A large engine, whose weights are taken to `data` if they still are so in 8 bits."""
    model = ir.load(file)
    data.take(model)
    return ir.to_proto(model)


def simplify(exact: Path, file: Path) -> bool:
    """Fold constants: what the quantiser takes for weights are constants, and the exporter leaves them transposed.

    Whether the weights lie outside the file, as those of large engines do.
    """
    external = has_external_data(exact)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    options.log_severity_level = 3
    if external:
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{file.stem}.data")
    onnxruntime.InferenceSession(exact, options, providers=["CPUExecutionProvider"])
    return external


def centred(model: onnx.ModelProto) -> onnx.ModelProto:
    """Split each product of candidates and weights into that of a mean and that of the differences from it."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    axes = {value.name: candidate_axis(value) for value in graph.value_info}
    weights = {tensor.name for tensor in graph.initializer}
    nodes, done = [], set[str]()
    for node in graph.node:
        rounded = node.op_type == "MatMul" and node.input[1] in weights and not node.name.startswith(EXACT)
        axis = axes.get(node.input[0]) if rounded else None
        if axis is None:
            nodes.append(node)
            continue
        if node.input[0] not in done:
            done.add(node.input[0])
            nodes += subtract_mean(node.input[0], axis)
        nodes += split(node)
    indices = {f"centred/{value}": np.array([value], np.int64) for value in (0, 1, 2, 3, SAMPLED)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in indices.items())
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def candidate_axis(value: onnx.ValueInfoProto) -> int | None:
    """Which axis of a tensor the candidates have to themselves; None if none."""
    names = [dimension.dim_param for dimension in value.type.tensor_type.shape.dim]
    return names.index("S") if "S" in names else None


def subtract_mean(name: str, axis: int) -> list[onnx.NodeProto]:
    """A tensor less its mean over the first candidates: the mean of a few is as good, and summing takes time."""
    node, sample, mean = onnx.helper.make_node, f"{name}/sample", f"{name}/mean"
    along = f"centred/{axis}"
    return [
        node("Slice", [name, "centred/0", f"centred/{SAMPLED}", along], [sample], f"{name}/Slice"),
        node("ReduceMean", [sample, along], [mean], f"{name}/ReduceMean"),
        node("Sub", [name, mean], [f"{name}/differences"], f"{name}/Sub"),
    ]


def split(product: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The product of a tensor whose mean was subtracted."""
    node, (tensor, weights), (result,) = onnx.helper.make_node, product.input, product.output
    parts = {part: f"{result}/{part}" for part in ("differences", "mean")}
    products = [
        node("MatMul", [f"{tensor}/{part}", weights], [out], f"{product.name}/{part}") for part, out in parts.items()
    ]
    return [*products, node("Add", list(parts.values()), [result], f"{product.name}/Add")]


def drop_unused_domains(model: onnx.ModelProto) -> None:
    """Forget the operators that ONNX Runtime knows besides those in use: they differ from build to build."""
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def has_batched_products(file: Path) -> bool:
    """Whether a weight has more than two axes, as those of an ensemble: such have one scale in ONNX Runtime."""
    graph = onnx.load(file, load_external_data=False).graph
    weights = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    return any(len(tensor.dims) > 2 for tensor in graph.initializer if tensor.name in weights)


@contextmanager
def silent() -> Iterator[None]:
    """Keep the quantiser from advising what :func:`simplify` has done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
