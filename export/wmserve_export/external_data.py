"""Weights of large engines lie beside their ONNX files: protobuf ends at 2 GB, and what is read in place costs once.

    1/
     |- horizon_5.onnx        the graph; of each weight the data file's name, an offset and a length
     |- horizon_5_judge.onnx
     `- weights.data          the weights of all engines of this verb, each once

This is ONNX's own external data. A runtime maps the file into memory, so engines that share weights share them there,
too, in one process or in several. Small engines keep their weights inside.
"""

import hashlib
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnx_ir as ir
from tqdm import tqdm

DATA_FILE = "weights.data"
EXTERNAL_FROM = 256 << 20
"""Bytes of weights over which an engine's lie outside its file."""
INSIDE_TO = 1024
"""Bytes to which a tensor stays inside all the same: shapes and axes, which tools want to see."""
ALIGNMENT = 4096
"""Of offsets, bytes: a page, as ONNX recommends for mapping."""
SHOWN_FROM = 256 << 20
"""Bytes from which progress is shown."""


class ExternalData:
    """The data file of a version folder that is being written."""

    def __init__(self, folder: Path, show: bool = False) -> None:
        self.folder = folder
        self._show = show
        self._offsets: dict[bytes, int] = {}
        """Where in the file bytes of a SHA-256 lie."""

    def take(self, model: ir.Model) -> None:
        """Move the weights out of an engine of this folder, if they are large; what lies there already is found.

        Those of a small engine end up inside, wherever they were.
        """
        tensors = {value: value.const_value for value in model.graph.initializers.values() if value.const_value}
        if sum(tensor.nbytes for tensor in tensors.values()) <= EXTERNAL_FROM:
            ir.external_data.load_to_model(model)
            return
        moved = {value: tensor for value, tensor in tensors.items() if tensor.nbytes > INSIDE_TO}
        total = sum(tensor.nbytes for tensor in moved.values())
        with progress("writing weights", total, self._show) as bar:
            for value, tensor in moved.items():
                value.const_value = self._external(tensor)
                bar.update(tensor.nbytes)

    def _external(self, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        """The tensor as it lies in the file."""
        content = raw(tensor)
        digest = hashlib.sha256(content).digest()
        if digest not in self._offsets:
            self._offsets[digest] = self._append(content)
        assert isinstance(tensor.shape, ir.Shape)
        return ir.ExternalTensor(
            DATA_FILE, self._offsets[digest], content.nbytes, tensor.dtype, shape=tensor.shape, name=tensor.name or ""
        )

    def _append(self, content: memoryview) -> int:
        with (self.folder / DATA_FILE).open("ab") as file:
            file.write(bytes(-file.tell() % ALIGNMENT))
            offset = file.tell()
            file.write(content)
        return offset


def raw(tensor: ir.TensorProtocol) -> memoryview:
    """A tensor's bytes, little-endian, row by row; not a copy where they lie so already."""
    return np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data


def has_external_data(file: Path) -> bool:
    """Whether the weights of an engine's file lie beside it."""
    return (file.parent / DATA_FILE).is_file() and DATA_FILE.encode() in file.read_bytes()


def progress(what: str, total: int, show: bool) -> "tqdm[NoReturn]":
    """A bar of bytes, for those that take a while."""
    return tqdm(total=total, desc=what, unit="B", unit_scale=True, leave=False, disable=not show or total < SHOWN_FROM)
