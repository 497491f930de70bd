"""Mosec: a web server in Rust that batches, and worker processes that it speaks to over a socket.

JSON by msgspec, which mosec brings: its own default writes indented JSON in pure Python.
"""

import sys

import engine
import msgspec
from mosec import Server, Worker


class Encoder(Worker):
    """Runs batches; parsing and writing, by request, are in the worker too."""

    def __init__(self) -> None:
        super().__init__()
        self._engine = engine.Engine()

    def deserialize(self, data: bytes) -> engine.Frame:
        """Body to frame."""
        return engine.frame_of_bytes(data) if engine.BINARY else engine.frame_of_json(msgspec.json.decode(data))

    def forward(self, data: list[engine.Frame]) -> list[tuple[engine.Row, engine.Row]]:
        """Frames to latents and readouts."""
        return self._engine.encode(data)

    def serialize(self, data: tuple[engine.Row, engine.Row]) -> bytes:
        """Answer to body."""
        return engine.as_bytes(data) if engine.BINARY else msgspec.json.encode(engine.as_json(data))


if __name__ == "__main__":
    sys.argv[1:] = [f"--address={engine.HOST}", f"--port={engine.PORT}", "--log-level=warning"]
    server = Server()
    server.append_worker(
        Encoder, num=engine.WORKERS, max_batch_size=engine.MAX_BATCH, max_wait_time=engine.MAX_WAIT_MS, route="/encode"
    )
    server.run()
