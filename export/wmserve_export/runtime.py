"""Runs an engine file here in the runtime of the server.

Its settings are those of ``wmserve_server/triton_backends/wmserve_onnx/model.py``, which cannot be imported here.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from torch import Tensor

from wmserve_export.external_data import has_external_data

Floats = NDArray[np.float32]


class Runner:
    """One engine, ready to be called."""

    def __init__(self, file: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        if has_external_data(file):
            options.add_session_config_entry("session.disable_prepacking", "1")  # weights are used where they lie
            options.intra_op_num_threads = 0  # all
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Floats]:
        """Run batched inputs `[B, ...]` and return outputs by name."""
        answer = self._session.run(self._outputs, {name: tensor.numpy() for name, tensor in inputs.items()})
        return dict(zip(self._outputs, answer, strict=True))
