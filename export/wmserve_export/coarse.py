"""Makes the coarse engine of a plan engine: its products with weights in 8-bit integers, by ONNX Runtime's quantiser.

Activations are scaled as they come (dynamic quantisation), so no data is needed. A server scores all candidates with it
and the best again with the plan engine itself (``wmserve_server/planner/rescoring.py``).
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from wmserve_export.onnx_graphs import without_traces


def coarse_engine(model: bytes) -> bytes:
    """The engine in 8-bit integers, with the same inputs and outputs."""
    with tempfile.TemporaryDirectory() as folder:
        simple, small = Path(folder) / "simple.onnx", Path(folder) / "small.onnx"
        simplify(model, simple)
        with silent():
            quantize_dynamic(
                simple,
                small,
                op_types_to_quantize=["MatMul"],
                weight_type=QuantType.QInt8,
                per_channel=not has_batched_products(simple),
                # Seven bits of eight: sums of two products then fit 16 bits, where processors without VNNI would
                # cut them off, silently. So integers come out the same on every processor.
                reduce_range=True,
            )
        coarse = without_traces(onnx.load(small), f"{onnx.load_from_string(model).graph.name}_coarse")
    drop_unused_domains(coarse)
    onnx.checker.check_model(coarse, full_check=True)
    return coarse.SerializeToString(deterministic=True)


def simplify(model: bytes, file: Path) -> None:
    """Fold constants: what the quantiser takes for weights are constants, and the exporter leaves them transposed."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def drop_unused_domains(model: onnx.ModelProto) -> None:
    """Forget the operators that ONNX Runtime knows besides those in use: they differ from build to build."""
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def has_batched_products(file: Path) -> bool:
    """Whether a weight has more than two axes, as those of an ensemble: such have one scale in ONNX Runtime."""
    graph = onnx.load(file).graph
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
