"""Runs a world's ONNX engines inside Triton: a python-based backend, shared by all models that name it.

It reads the engines of one verb from the model's version folder and refuses them when they are not those of the
contract in the model's parameters. It knows tensors by the names in ``config.pbtxt``, and nothing of what they mean.

Each row of a batch is run by itself. Kernels pick their order of summation by the size of a batch, so this is what
makes an answer the same, bit for bit, whatever it travelled with; it costs next to nothing (loadtest/results).

Only the standard library, numpy and onnxruntime: wmserve is not importable here, nor in NVIDIA's container.
"""

import ctypes
import hashlib
import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]

CONTRACT_PARAMETER = "wmserve_world"
THREADS_VARIABLE = "WMSERVE_TRITON_THREADS"
PARENT_POLL_S = 0.5


def session(model: bytes) -> ort.InferenceSession:
    """An engine pinned to its threads, which sleep while they wait: spinning would burn a laptop's core."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get(THREADS_VARIABLE, "1"))
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def verified(file: Path, digest: str) -> bytes:
    """The file's bytes, if they are those that the contract speaks of."""
    if not file.is_file():
        raise RuntimeError(f"engine {file.name} of the contract is missing")
    model = file.read_bytes()
    if f"sha256:{hashlib.sha256(model).hexdigest()}" != digest:
        raise RuntimeError(f"engine {file.name} is not the one in the contract: digests differ; export the world again")
    return model


def follow(server: int) -> None:
    """End this process when the server has gone: Triton's own check takes a zombie for a living parent."""
    while os.getppid() == server:
        time.sleep(PARENT_POLL_S)
    os._exit(1)


# Arrays travel as DLPack capsules: Triton's own numpy conversion is built for numpy 1 and silently empties arrays of
# numpy 2. Triton renames a capsule that it has taken in a way numpy does not know, whose destructor would then print an
# error; the memory is Triton's by then, so the destructor is not needed.
set_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
set_destructor.argtypes = [ctypes.py_object, ctypes.c_void_p]


def to_tensor(name: str, array: Array) -> Any:
    """Hand an array over to Triton without a copy."""
    capsule = array.__dlpack__()
    set_destructor(capsule, None)
    return pb_utils.Tensor.from_dlpack(name, capsule)


class TritonPythonModel:
    """One Triton model: the engines of one verb of one world."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engines; RuntimeError, which Triton reports, when they do not match the contract."""
        threading.Thread(target=follow, args=(os.getppid(),), daemon=True).start()
        config = json.loads(args["model_config"])
        world = json.loads(config["parameters"][CONTRACT_PARAMETER]["string_value"])
        prefix = args["model_name"].removeprefix(world["name"] + "_") + "/"
        folder = Path(args["model_repository"]) / args["model_version"]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._engines = {
            steps_of(key, world["action"]["action_block"]): session(verified(folder / key.removeprefix(prefix), digest))
            for key, digest in world["digests"]["engines"].items()
            if key.startswith(prefix)
        }
        if not self._engines:
            raise RuntimeError(f"the contract of world {world['name']} has no engine for model {args['model_name']}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself: one that fails does not take the others with it."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        tensors = {t.name(): np.from_dlpack(t) for t in request.inputs()}
        try:
            arrays = self._run(tensors)
        except Exception as error:  # whatever the runtime raises belongs to this request alone
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{type(error).__name__}: {error}"))
        return pb_utils.InferenceResponse(list(map(to_tensor, self._outputs, arrays)))

    def _run(self, tensors: Tensors) -> list[Array]:
        """Run batched tensors `[B, ...]` row by row, and stack the answers."""
        steps = tensors["actions"].shape[2] if "actions" in tensors else None
        if steps not in self._engines:
            raise ValueError(f"no engine is unrolled to {steps} environment steps, only to {list(self._engines)}")
        rows = range(len(next(iter(tensors.values()))))
        answers = [
            self._engines[steps].run(self._outputs, {name: array[row : row + 1] for name, array in tensors.items()})
            for row in rows
        ]
        return answers[0] if len(answers) == 1 else [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def steps_of(key: str, action_block: int) -> int | None:
    """Environment steps `N` that an engine is unrolled to, from its file's name; None for one that is not."""
    match = re.search(r"/horizon_(\d+)\.onnx$", key)
    return int(match[1]) * action_block if match else None
