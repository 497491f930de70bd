"""What is sent: one frame `[64, 64, 3]` uint8 of Two-Room, in the form that each server takes, made once.

A load generator that serialises would be measured too, so every body is bytes before the clock starts.
"""

import base64
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tritonclient.grpc import service_pb2
from wmserve.arrays import to_tensor
from wmserve.v1 import world_model_pb2 as pb

from loadtest.serving import ROOT

WORLD = "two_room"
ENCODE = "/wmserve.v1.WorldModelService/Encode"
PLAN = "/wmserve.v1.WorldModelService/Plan"
TRITON_INFER = "/inference.GRPCInferenceService/ModelInfer"
GRPC_HEADERS = {"content-type": "application/grpc", "te": "trailers"}
PROTOBUF_HEADERS = {"content-type": "application/x-protobuf"}
JSON_HEADERS = {"content-type": "application/json"}
READOUT_TOLERANCE_PX = 0.01
"""Peers run whole batches, in which kernels may add up in another order than for one row."""


@dataclass(frozen=True)
class Answer:
    """What every server must say of the frame: readouts `[R]`; latents `[D]`, None if they stay behind a handle."""

    readouts: NDArray[np.float32]
    latents: NDArray[np.float32] | None = None

    def must_equal(self, other: "Answer", who: str) -> None:
        """ValueError when two servers do not say the same."""
        if not np.allclose(self.readouts, other.readouts, atol=READOUT_TOLERANCE_PX):
            raise ValueError(f"{who} reads {other.readouts}, expected {self.readouts}")
        both = self.latents is not None and other.latents is not None
        if both and not np.allclose(self.latents, other.latents, rtol=1e-4, atol=1e-4):
            raise ValueError(f"{who} has other latents")


def frame(picture: Path = ROOT / "docs" / "start.png") -> NDArray[np.uint8]:
    """A Two-Room frame `[64, 64, 3]`."""
    image = Image.open(picture).convert("RGB")
    return np.asarray(image.resize((64, 64), Image.Resampling.BOX))


def grpc_frame(message: bytes) -> bytes:
    """A message as gRPC sends it: not compressed, length first."""
    return struct.pack(">BI", 0, len(message)) + message


def encode_request(return_latents: bool = False) -> bytes:
    """The gateway's protobuf request, the same on gRPC and HTTP."""
    observations = pb.Observations(array=to_tensor(frame()))
    return pb.EncodeRequest(world=WORLD, observations=observations, return_latents=return_latents).SerializeToString()


def infer_request() -> bytes:
    """The same frame for Triton: raw tensors, both outputs."""
    request = service_pb2.ModelInferRequest(model_name=f"{WORLD}_encode")
    tensor = request.inputs.add()
    tensor.name, tensor.datatype = "observations", "UINT8"
    tensor.shape.extend([1, 1, *frame().shape])
    for name in ("latents", "readouts"):
        request.outputs.add().name = name
    request.raw_input_contents.append(frame().tobytes())
    return request.SerializeToString()


def encoded_array(array: NDArray[np.generic]) -> dict[str, object]:
    """An array in JSON: dtype, shape and base64 of its bytes."""
    data = base64.b64encode(array.tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}


def json_request() -> bytes:
    """The JSON body that every server gets: the array in base64."""
    body = {"world": WORLD, "observations": encoded_array(frame()), "return_latents": True}
    return json.dumps(body).encode()


def plan_request(candidate_count: int, iterations: int) -> bytes:
    """A plan between two pictures, as heavy as asked."""
    goal = frame(ROOT / "docs" / "goal.png")
    return pb.PlanRequest(
        world=WORLD,
        context=pb.Context(observations=pb.Observations(array=to_tensor(frame()))),
        goal=pb.Goal(observation=pb.Observations(array=to_tensor(goal))),
        planner=pb.PlannerOptions(candidate_count=candidate_count, iterations=iterations, seed=1),
    ).SerializeToString()
