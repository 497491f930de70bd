"""One call of a Triton model: tensors in, tensors out, over Triton's own protocol messages.

tritonclient's `infer` wraps each tensor in an object of its own and checks it; its messages and service are used here
as they are, since every tensor that gets here has been checked already (loadtest/results/serve.md has what that saves).
"""

from collections.abc import Iterable, Mapping

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

Tensors = Mapping[str, NDArray[np.generic]]
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class InferenceClient:
    """Calls models of one Triton; raises `grpc.aio.AioRpcError`."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def infer(self, model: str, tensors: Tensors, outputs: Iterable[str], timeout_s: float) -> Tensors:
        """Send tensors `[B, ...]` by name and return the outputs `[B, ...]` asked for by name; they are read-only."""
        request = service_pb2.ModelInferRequest(model_name=model)
        for name in outputs:
            request.outputs.add(name=name)
        for name, array in tensors.items():
            request.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        answer = await self._stub.ModelInfer(request, timeout=timeout_s)
        return {
            output.name: np.frombuffer(data, triton_to_np_dtype(output.datatype)).reshape(output.shape)
            for output, data in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close()
