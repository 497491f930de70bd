"""LitServe: FastAPI in front, worker processes that batch behind queues (its fast queue: ZeroMQ)."""

from typing import Annotated, Any

import engine
import litserve
from fastapi import Body, Response


class Encoder(litserve.LitAPI):
    """Decoding and encoding run in the worker, beside the engine: LitServe's own layout."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the engine."""
        self._engine = engine.Engine()

    def batch(self, inputs: list[engine.Frame]) -> list[engine.Frame]:
        """Leave stacking to the engine."""
        return inputs

    def predict(self, x: list[engine.Frame]) -> list[tuple[engine.Row, engine.Row]]:
        """Frames to latents and readouts."""
        return self._engine.encode(x)

    def unbatch(self, output: list[tuple[engine.Row, engine.Row]]) -> list[tuple[engine.Row, engine.Row]]:
        """One answer each."""
        return output


class JsonEncoder(Encoder):
    """JSON in, JSON out."""

    def decode_request(self, request: dict[str, Any]) -> engine.Frame:
        """Values to frame."""
        return engine.frame_of_json(request)

    def encode_response(self, output: tuple[engine.Row, engine.Row]) -> dict[str, list[float]]:
        """Answer to values."""
        return engine.as_json(output)


class BinaryEncoder(Encoder):
    """Bytes in, bytes out: what FastAPI does with a parameter and an answer of these types."""

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> engine.Frame:
        """Body to frame."""
        return engine.frame_of_bytes(request)

    def encode_response(self, output: tuple[engine.Row, engine.Row]) -> Response:
        """Answer to body."""
        return Response(engine.as_bytes(output), media_type="application/octet-stream")


if __name__ == "__main__":
    api = (BinaryEncoder if engine.BINARY else JsonEncoder)(
        max_batch_size=engine.MAX_BATCH, batch_timeout=engine.MAX_WAIT_MS / 1000, api_path="/encode"
    )
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=engine.WORKERS, fast_queue=True)
    server.run(host=engine.HOST, port=engine.PORT, num_api_servers=1, log_level="warning", generate_client_file=False)
