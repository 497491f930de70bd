"""What all peers share: the engine, how a body becomes a frame and what an answer is made of.

Only what the peer servers' environment has: numpy, onnxruntime, the standard library. Every peer is told by its
environment how to run, so that all are started alike:

    PEER_PORT     port on loopback
    PEER_BODY     `binary`: the frame's bytes;  `json`: the gateway's JSON body with the array in base64
    PEER_THREADS  threads of one engine
    PEER_WORKERS  processes that have an engine each
"""

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

ENGINE = Path(__file__).parent.parent.parent / "model_repository" / "two_room_encode" / "1" / "engine.onnx"
HOST = "127.0.0.1"
PORT = int(os.environ.get("PEER_PORT", "8000"))
BINARY = os.environ.get("PEER_BODY", "binary") == "binary"
THREADS = int(os.environ.get("PEER_THREADS", "2"))
WORKERS = int(os.environ.get("PEER_WORKERS", "1"))
MAX_BATCH = 16
MAX_WAIT_MS = 1
"""The shortest wait that all of them can be told; a batch leaves earlier when it is full."""

Frame = np.ndarray[Any, np.dtype[np.uint8]]
Row = np.ndarray[Any, np.dtype[np.float32]]


class Engine:
    """The encoder, with the session options of the project's own engine runner."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(ENGINE, options, providers=["CPUExecutionProvider"])

    def encode(self, frames: Sequence[Frame]) -> list[tuple[Row, Row]]:
        """Latents `[32]` and readouts `[3]` of each frame `[64, 64, 3]`: one run for the whole batch."""
        latents, readouts = self._session.run(["latents", "readouts"], {"observations": np.stack(frames)[:, None]})
        return list(zip(latents[:, 0], readouts[:, 0], strict=True))


def frame_of_bytes(body: bytes) -> Frame:
    """The frame of a binary body; no header says its size: these servers know one size only."""
    return np.frombuffer(body, np.uint8).reshape(64, 64, 3)


def frame_of_json(body: dict[str, Any]) -> Frame:
    """The frame of the gateway's JSON body."""
    array = body["observations"]
    return np.frombuffer(base64.b64decode(array["data"]), array["dtype"]).reshape(array["shape"])


def as_bytes(row: tuple[Row, Row]) -> bytes:
    """An answer as bytes: latents, then readouts, float32."""
    return b"".join(part.tobytes() for part in row)


def as_json(row: tuple[Row, Row]) -> dict[str, list[float]]:
    """An answer as JSON values, both as lists of numbers, as the gateway writes them."""
    return {"latents": row[0].tolist(), "readouts": row[1].tolist()}
