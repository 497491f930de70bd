"""Brings an ONNX file's products to half precision; all else, norms and softmax among it, stays float32.

TensorRT's networks are strongly typed: what precision a product has, its file says. A product (of matrices, or a
convolution) is lowered where all that it multiplies comes of products with weights. So what reads an input as it came
stays exact: the layers that read actions, whose differences a search lives by, and the resizing of frames.

    lowered    x -> Cast to half -> product in half -> Cast to float32
    rounded    the same values, with sums in float32 as tensor cores have them, for CPUs that lack such kernels
"""

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto
from wmserve.world import Dtype

PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"})
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


def lowered(file: Path, dtype: Dtype) -> Path:
    """The file with products in `dtype`, for a strongly typed network; inputs and outputs keep their types."""
    return rewritten(file, dtype, in_float32=False)


def rounded(file: Path, dtype: Dtype) -> Path:
    """The file with what products of `dtype` take and give rounded to it, and no tensor of that type kept."""
    return rewritten(file, dtype, in_float32=True)


def rewritten(file: Path, dtype: Dtype, in_float32: bool) -> Path:
    """Put casts around the products that :func:`products` finds, in another file beside this one.

    Weights that lie beside it are the same for both, since it is in the graph that they are cast.
    """
    if dtype == "float32":
        return file
    read = onnx.load(file, load_external_data=False)
    found, nodes, known = products(read.graph), list[NodeProto](), set[str]()
    for node in read.graph.node:
        nodes += around(node, dtype, in_float32, known) if node.name in found else [node]
    del read.graph.node[:]
    del read.graph.value_info[:]  # some are of another type now
    read.graph.node.extend(nodes)
    made = file.with_stem(f"{file.stem}_{dtype}{'_rounded' if in_float32 else ''}")
    made.write_bytes(read.SerializeToString(deterministic=True))
    onnx.checker.check_model(made)
    return made


def products(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes to lower."""
    constant = {tensor.name for tensor in graph.initializer}
    weighed, found = set[str](), set[str]()
    for node in graph.node:
        read = [name for name in node.input if name]
        varying = [name for name in read if name not in constant]
        if not varying:
            constant.update(node.output)
        elif any(name in weighed for name in read):
            weighed.update(node.output)
        if node.op_type in PRODUCTS and varying:
            if all(name in weighed for name in varying):
                found.add(node.name)
            if len(varying) < len(read):
                weighed.update(node.output)
    return found


def around(node: NodeProto, dtype: Dtype, in_float32: bool, known: set[str]) -> Iterator[NodeProto]:
    """A product with casts before and behind it; a tensor in `known` has its cast already."""
    suffix = f"{dtype}_rounded" if in_float32 else dtype
    for place, name in enumerate(node.input):
        if name:
            half = f"{name}/{suffix}"
            if half not in known:
                known.add(half)
                yield from cast(name, half, dtype, through_half=in_float32)
            node.input[place] = half
    (answer,) = node.output
    node.output[0] = f"{answer}/{suffix}_product"
    yield node
    yield from cast(node.output[0], answer, dtype if in_float32 else "float32", through_half=in_float32)


def cast(name: str, to: str, dtype: Dtype, through_half: bool) -> Iterator[NodeProto]:
    """Nodes that cast a tensor, and back if it only goes through that type."""
    middle = f"{to}/half" if through_half else to
    yield onnx.helper.make_node("Cast", [name], [middle], f"{to}/Cast", to=TYPES[dtype])
    if through_half:
        yield onnx.helper.make_node("Cast", [middle], [to], f"{to}/Cast_back", to=TensorProto.FLOAT)
