"""Loops: what is seen in, what to do out, in one stream.

with client.control("two_room", goal={"agent_x": 180.0, "agent_y": 60.0}) as loop:
    while not arrived:
        turn = loop.step(camera.frame())
        robot.execute(turn.plan.actions if turn.plan.status == "ok" else SAFE)

At each step the server is told what came of the last plan, and plans again from where that left off.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import grpc
from wmserve.v1 import world_model_pb2 as pb

from wmserve_client import requests, results
from wmserve_client.errors import DeadlineExceeded, from_rpc
from wmserve_client.requests import Context, Source
from wmserve_client.results import Turn


class Loop:
    """What both kinds of loop say: a whole request where goal or options are new, else what is seen."""

    def __init__(self, first: pb.PlanRequest, timeout_s: float) -> None:
        self._asked = first
        self._told = False
        self._begins = True
        self._timeout_s = timeout_s

    def set_goal(self, goal: Source | Mapping[str, float]) -> None:
        """Go for another goal from the next step on; that search starts afresh. An equal one changes nothing."""
        wanted = requests.goal(goal)
        if wanted != self._asked.goal:
            self._asked.goal.CopyFrom(wanted)
            self._told = False

    def begin(self, goal: Source | Mapping[str, float] | None = None) -> None:
        """Begin an episode with the next step, towards another goal if one is given.

        What is seen then did not come of the last plan: nothing is reported of that, and the search starts afresh.
        """
        if goal is not None:
            self._asked.goal.CopyFrom(requests.goal(goal))
        self._told, self._begins = False, True

    def _message(self, seen: Source | Context, executed_steps: int | None) -> pb.ControlRequest:
        """The message of a step."""
        message = pb.ControlRequest(executed_steps=0 if self._begins else executed_steps)
        self._begins = False
        if self._told:
            message.seen.CopyFrom(requests.context(seen))
        else:
            self._asked.context.CopyFrom(requests.context(seen))
            message.plan.CopyFrom(self._asked)
            self._told = True
        return message


class Control(Loop):
    """A loop that is under way; one thread uses it. An error ends it."""

    def __init__(self, method: Callable[..., Any], first: pb.PlanRequest, timeout_s: float) -> None:
        super().__init__(first, timeout_s)
        self._sent: queue.SimpleQueue[pb.ControlRequest | None] = queue.SimpleQueue()
        self._call = method(self._messages())

    def _messages(self) -> Iterator[pb.ControlRequest]:
        while (message := self._sent.get()) is not None:
            yield message

    def step(self, seen: Source | Context, *, executed_steps: int | None = None) -> Turn:
        """What to do now that this is seen, and what came of the last plan.

        Of that, `executed_steps` environment steps were executed; None: as many as the world executes at a time; 0 if
        something else was done. Of a refused plan none is. Raises `WmserveError`.
        """
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._call.cancel()

        timer = threading.Timer(self._timeout_s, give_up)
        timer.daemon = True
        timer.start()
        self._sent.put(self._message(seen, executed_steps))
        try:
            return results.turn(next(self._call))
        except grpc.RpcError as error:
            raise timed_out(self._timeout_s) if late.is_set() else from_rpc(error) from None
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the loop."""
        self._sent.put(None)
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncControl(Loop):
    """The same for asyncio."""

    def __init__(self, method: Callable[..., Any], first: pb.PlanRequest, timeout_s: float) -> None:
        super().__init__(first, timeout_s)
        self._call = method()

    async def step(self, seen: Source | Context, *, executed_steps: int | None = None) -> Turn:
        """As :meth:`Control.step`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                with contextlib.suppress(asyncio.InvalidStateError):  # the server has ended it: read why
                    await self._call.write(self._message(seen, executed_steps))
                answer = await self._call.read()
                if answer is grpc.aio.EOF:
                    raise from_rpc(await ended(self._call))
        except TimeoutError:
            self._call.cancel()
            raise timed_out(self._timeout_s) from None
        except grpc.RpcError as error:
            raise from_rpc(error) from None
        return results.turn(answer)

    async def close(self) -> None:
        """End the loop."""
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def ended(call: Any) -> grpc.aio.AioRpcError:
    """With what the server ended a stream."""
    code, details = await call.code(), await call.details()
    return grpc.aio.AioRpcError(code, await call.initial_metadata(), await call.trailing_metadata(), details=details)


def timed_out(timeout_s: float) -> DeadlineExceeded:
    """No answer in time."""
    return DeadlineExceeded(f"no answer within {timeout_s:g} s; the loop has ended", reason="deadline_exceeded")
