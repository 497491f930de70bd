"""Plain FastAPI with a micro-batcher: what a project writes that wants no serving framework.

Requests that are there when the engine is free travel together; uvloop and httptools, as ``uvicorn[standard]`` brings
them; one process, since a queue is shared by nobody, and the engine runs in a thread beside the loop.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import engine
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

Waiting = tuple[engine.Frame, "asyncio.Future[tuple[engine.Row, engine.Row]]"]


class Array(BaseModel):
    """An array in JSON."""

    dtype: Literal["uint8"]
    shape: list[int]
    data: str


class EncodeRequest(BaseModel):
    """The gateway's JSON body."""

    world: str
    observations: Array
    return_latents: bool = False


class Batcher:
    """Collects frames while the engine is busy."""

    def __init__(self) -> None:
        self._engine = engine.Engine()
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()

    async def encode(self, frame: engine.Frame) -> tuple[engine.Row, engine.Row]:
        """Latents and readouts of one frame."""
        answer: asyncio.Future[tuple[engine.Row, engine.Row]] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((frame, answer))
        return await answer

    async def run(self) -> None:
        """Run batches for ever."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < engine.MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            rows = await asyncio.to_thread(self._engine.encode, [frame for frame, _ in batch])
            for (_, answer), row in zip(batch, rows, strict=True):
                if not answer.done():
                    answer.set_result(row)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Run the batcher beside the application."""
    running = asyncio.create_task(batcher.run())
    yield
    running.cancel()


batcher = Batcher()
app = FastAPI(lifespan=lifespan)


if engine.BINARY:

    @app.post("/encode")
    async def encode(request: Request) -> Response:
        """Bytes in, bytes out."""
        row = await batcher.encode(engine.frame_of_bytes(await request.body()))
        return Response(engine.as_bytes(row), media_type="application/octet-stream")

else:

    @app.post("/encode")
    async def encode_json(request: EncodeRequest) -> dict[str, list[float]]:
        """JSON in, JSON out."""
        return engine.as_json(await batcher.encode(engine.frame_of_json(request.model_dump())))


if __name__ == "__main__":
    uvicorn.run(app, host=engine.HOST, port=engine.PORT, log_level="warning", access_log=False)
