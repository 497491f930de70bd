"""One call of a Triton model: tensors in, tensors out, over Triton's own protocol messages.

tritonclient's `infer` wraps each tensor in an object of its own and checks it; its messages and service are used here
as they are, since every tensor that gets here has been checked already (loadtest/results/serve.md has what that saves).
"""

import json
from collections.abc import Iterable, Mapping

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

Tensors = Mapping[str, NDArray[np.generic]]
SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
RETRIED_BYTES = 64 << 20
"""Calls up to this size are kept until they are answered, to be asked elsewhere."""
RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.02s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
BALANCED = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [{"name": [{"service": SERVICE}], "retryPolicy": RETRY}],
}
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def channel_options(several: bool) -> list[tuple[str, str | int]]:
    """Options of a channel to one Triton, or to several that take turns: one that goes away is not missed.

    What an engine answers depends on nothing but the call, so that a call may be asked again.
    """
    if not several:
        return [*OPTIONS]
    return [
        *OPTIONS,
        ("grpc.service_config", json.dumps(BALANCED)),
        ("grpc.per_rpc_retry_buffer_size", RETRIED_BYTES),
        ("grpc.dns_min_time_between_resolutions_ms", 1000),  # those that have gone are no longer in the answer
        ("grpc.max_reconnect_backoff_ms", 5000),  # one that was away for long gets its share soon
    ]


class InferenceClient:
    """Calls models of one Triton; raises `grpc.aio.AioRpcError`."""

    def __init__(self, address: str, options: list[tuple[str, str | int]]) -> None:
        self._channel = grpc.aio.insecure_channel(address, options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def infer(
        self,
        model: str,
        tensors: Tensors,
        outputs: Iterable[str],
        timeout_s: float,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Tensors:
        """Send tensors `[B, ...]` by name and return the outputs `[B, ...]` asked for by name; they are read-only."""
        request = service_pb2.ModelInferRequest(model_name=model)
        for name in outputs:
            request.outputs.add(name=name)
        for name, array in tensors.items():
            request.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        answer = await self._stub.ModelInfer(request, timeout=timeout_s, metadata=metadata)
        return {
            output.name: np.frombuffer(data, triton_to_np_dtype(output.datatype)).reshape(output.shape)
            for output, data in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close()
