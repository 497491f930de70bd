"""Sends calls to one engine together when they are ready at the same moment.

A call that finds the engine free leaves at once; calls that arrive while it is busy wait and leave together, so nobody
waits for company. Calls whose caller has gone are dropped before they cost anything.

Work that comes in turns (a search, slice by slice) says how many it has had: who has had fewer goes first, so that a
small plan passes large ones. Each time that a call is passed counts for it, so that nobody waits for ever.
"""

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import SpanKind

from wmserve_server import telemetry
from wmserve_server.errors import Unavailable

Tensors = Mapping[str, NDArray[np.generic]]
Send = Callable[[Tensors], Awaitable[Tensors]]
"""Sends tensors with a leading batch axis `[B, ...]` and returns tensors with the same."""
OnBatch = Callable[[int, float], None]
"""Told of each batch that leaves: its calls, and the seconds that they have waited, together."""

MAX_BATCH_BYTES = 8 << 20


@dataclass
class Call:
    """One caller's tensors, without a batch axis, and where to put the answer."""

    tensors: Tensors
    answer: "asyncio.Future[Tensors]"
    turns: int
    """Turns that this work has had before, less the times that others were taken while it waited."""
    since: float
    """When it began to wait, on the clock of :func:`time.perf_counter`."""
    context: contextvars.Context
    """Of its caller: which request, and where in which trace."""
    left_at: float | None = None
    beside: int = 1
    """Calls of the batch that it left with."""

    @property
    def signature(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Only calls of equal shapes can share a batch."""
        return tuple((name, array.shape) for name, array in self.tensors.items())

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(array.nbytes for array in self.tensors.values())


class Coalescer:
    """The queue in front of one engine."""

    def __init__(self, send: Send, max_batch: int, max_in_flight: int, on_batch: OnBatch, engine: str = "") -> None:
        self._send = send
        self._engine = engine
        self._max_in_flight = max_in_flight
        self._max_batch = max_batch
        self._on_batch = on_batch
        self._waiting: deque[Call] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()

    async def call(self, tensors: Tensors, turns: int = 0) -> Tensors:
        """Send one caller's tensors and return theirs of the answer; raises what ``send`` raises."""
        answer: asyncio.Future[Tensors] = asyncio.get_running_loop().create_future()
        call = Call(tensors, answer, turns, time.perf_counter(), contextvars.copy_context())
        self._waiting.append(call)
        # Not at once: who asks in the same turn of the loop, as a plan does for start and goal, travels along.
        asyncio.get_running_loop().call_soon(self._pump)
        try:
            return await answer
        finally:
            self._trace(call)

    def _trace(self, call: Call) -> None:
        """Say how long it waited, and how long the engine took; a call that was given up may not have left."""
        now = time.perf_counter()
        telemetry.past(f"queue {self._engine}", call.since, call.left_at or now)
        if call.left_at is not None:
            telemetry.past(f"engine {self._engine}", call.left_at, now, SpanKind.CLIENT, batch_size=call.beside)

    def _pump(self) -> None:
        while len(self._in_flight) < self._max_in_flight and (batch := self._take()):
            # In its first caller's context, not in that of whoever landed last: log lines name the request.
            task = asyncio.create_task(self._run(batch), context=batch[0].context)
            self._in_flight.add(task)
            task.add_done_callback(self._landed)

    def _landed(self, task: "asyncio.Task[None]") -> None:
        self._in_flight.discard(task)
        self._pump()

    def _take(self) -> list[Call]:
        """Of the live calls with the fewest turns the oldest, and those of its shape; the others keep their order."""
        batch: list[Call] = []
        rest: deque[Call] = deque()
        for call in sorted(self._waiting, key=attrgetter("turns")):
            if call.answer.done():  # cancelled: the caller has gone
                continue
            if self._joins(batch, call):
                batch.append(call)
            else:
                call.turns -= 1
                rest.append(call)
        self._waiting = rest
        return batch

    def _joins(self, batch: list[Call], call: Call) -> bool:
        if not batch:
            return True
        room = len(batch) < self._max_batch and (len(batch) + 1) * call.nbytes <= MAX_BATCH_BYTES
        return room and call.signature == batch[0].signature

    async def _run(self, batch: list[Call]) -> None:
        now = time.perf_counter()
        for call in batch:
            call.left_at, call.beside = now, len(batch)
        self._on_batch(len(batch), sum(now - call.since for call in batch))
        names = batch[0].tensors
        try:
            answers = await self._send({name: np.stack([call.tensors[name] for call in batch]) for name in names})
            rows = [{name: array[row] for name, array in answers.items()} for row in range(len(batch))]
        except BaseException as error:
            # Nobody may wait for ever: also not when this is cancelled because the gateway hangs up.
            reason = error if isinstance(error, Exception) else Unavailable("the server is shutting down")
            for call in batch:
                if not call.answer.done():
                    call.answer.set_exception(reason)
            if not isinstance(error, Exception):
                raise
            return
        for call, row in zip(batch, rows, strict=True):
            if not call.answer.done():
                call.answer.set_result(row)
