"""BentoML: a service whose method is batchable; its adaptive batcher decides how long to wait.

A batchable method takes a list of one type, so the JSON body is the gateway's inside a list of one. BentoML reads no
raw body; the cheapest binary input that it documents is an image in a form, so the frame travels as PPM: a line of text
and its bytes, uncompressed. It answers both in JSON.
"""

import os
import sys

import bentoml
import engine
import numpy as np
from PIL import Image
from pydantic import BaseModel

SERVICE = bentoml.service(
    workers=engine.WORKERS,
    traffic={"timeout": 30, "max_concurrency": 1000},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
API = bentoml.api(route="/encode", batchable=True, max_batch_size=engine.MAX_BATCH, max_latency_ms=1000)


class Array(BaseModel):
    """An array in JSON."""

    dtype: str
    shape: list[int]
    data: str


class EncodeRequest(BaseModel):
    """The gateway's JSON body."""

    world: str
    observations: Array
    return_latents: bool = False


if engine.BINARY:

    @SERVICE
    class Encoder:
        """Pictures in, JSON out."""

        def __init__(self) -> None:
            self._engine = engine.Engine()

        @API
        def encode(self, frames: list[Image.Image]) -> list[dict[str, list[float]]]:
            """Latents and readouts of pictures."""
            return [engine.as_json(row) for row in self._engine.encode([np.asarray(frame) for frame in frames])]

else:

    @SERVICE
    class Encoder:
        """JSON in, JSON out."""

        def __init__(self) -> None:
            self._engine = engine.Engine()

        @API
        def encode(self, requests: list[EncodeRequest], /) -> list[dict[str, list[float]]]:
            """Latents and readouts of frames in JSON."""
            frames = [engine.frame_of_json(request.model_dump()) for request in requests]
            return [engine.as_json(row) for row in self._engine.encode(frames)]


if __name__ == "__main__":
    os.environ["BENTOML_DO_NOT_TRACK"] = "1"
    words = ["-m", "bentoml", "serve", "with_bentoml:Encoder", f"--host={engine.HOST}", f"--port={engine.PORT}"]
    os.execv(sys.executable, [sys.executable, *words])
