"""Calls that are ready together travel together, and each gets its own answer."""

import asyncio
from contextvars import ContextVar

import numpy as np
import pytest
from wmserve_server.coalescing import Coalescer, Tensors


class Engine:
    """Doubles what it is sent, slowly, and remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def send(self, tensors: Tensors) -> Tensors:
        self.batches.append(len(tensors["x"]))
        await asyncio.sleep(0.01)
        if (tensors["x"] == -1).any():
            raise RuntimeError("unlucky")
        return {"y": tensors["x"] * 2}


def sized(value: float, size: int = 3) -> Tensors:
    return {"x": np.full(size, value, np.float32)}


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def coalescer(engine: Engine) -> Coalescer:
    return Coalescer(engine.send, max_batch=8, max_in_flight=2, on_batch=lambda *_: None)


async def test_each_caller_gets_its_own_row(engine: Engine, coalescer: Coalescer) -> None:
    """Twenty calls of one moment share few batches, as full as may be; nobody gets another's answer."""
    answers = await asyncio.gather(*(coalescer.call(sized(value)) for value in range(20)))
    assert [answer["y"][0] for answer in answers] == [2 * value for value in range(20)]
    assert engine.batches == [8, 8, 4]


async def test_a_call_that_finds_the_engine_free_leaves_at_once(engine: Engine, coalescer: Coalescer) -> None:
    """Nobody waits for company."""
    first = asyncio.create_task(coalescer.call(sized(1)))
    await asyncio.sleep(0.002)
    assert engine.batches == [1]
    await asyncio.gather(first, coalescer.call(sized(2)))
    assert engine.batches == [1, 1]


async def test_only_equal_shapes_share_a_batch(engine: Engine, coalescer: Coalescer) -> None:
    """Calls of different sizes are sent apart, and the order of each size is kept."""
    answers = await asyncio.gather(*(coalescer.call(sized(value, 2 + value % 2)) for value in range(12)))
    assert [len(answer["y"]) for answer in answers] == [2 + value % 2 for value in range(12)]
    assert sum(engine.batches) == 12


async def test_caller_that_left_costs_nothing(engine: Engine, coalescer: Coalescer) -> None:
    """A call that is cancelled while it waits is never sent."""
    calls = [asyncio.create_task(coalescer.call(sized(value))) for value in range(6)]
    await asyncio.sleep(0)
    for call in calls[2:5]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(engine.batches) == 3
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [False, False, True, True, True, False]


async def test_failure_reaches_those_in_the_batch_only(coalescer: Coalescer) -> None:
    """When the engine fails, its callers are told, and later calls are answered."""
    unlucky = asyncio.create_task(coalescer.call(sized(-1)))
    await asyncio.sleep(0.002)
    answers = await asyncio.gather(unlucky, coalescer.call(sized(1)), return_exceptions=True)
    assert isinstance(answers[0], RuntimeError)
    assert not isinstance(answers[1], BaseException)
    assert (await coalescer.call(sized(4)))["y"][0] == 8


def one_by_one() -> tuple[Coalescer, list[float]]:
    """A coalescer that sends one call at a time, and the calls' values in the order in which they were sent."""
    served: list[float] = []

    async def send(tensors: Tensors) -> Tensors:
        await asyncio.sleep(0)
        served.extend(tensors["x"][:, 0])
        return tensors

    coalescer = Coalescer(send, max_batch=1, max_in_flight=1, on_batch=lambda *_: None)
    return coalescer, served


async def test_who_has_had_fewer_turns_goes_first() -> None:
    """A new search passes one that has had its turn, and searches of equal standing keep their order."""
    coalescer, served = one_by_one()
    waiting = [(0.0, 0), (1.0, 5), (2.0, 1), (3.0, 0), (4.0, 1)]
    await asyncio.gather(*(coalescer.call(sized(value), turns) for value, turns in waiting))
    assert served == [0.0, 3.0, 2.0, 4.0, 1.0]


async def test_nobody_waits_for_ever() -> None:
    """A search that has had many turns gets one after it was passed as many times, however many new ones come."""
    coalescer, served = one_by_one()

    async def newcomers() -> None:
        for number in range(20):
            await coalescer.call(sized(float(number)))

    await asyncio.gather(newcomers(), newcomers(), coalescer.call(sized(-3.0), turns=5))
    assert 5 <= served.index(-3.0) <= 8


async def test_a_short_answer_is_an_error_of_its_callers() -> None:
    """An engine that answers too few rows leaves nobody waiting."""

    async def send(tensors: Tensors) -> Tensors:
        return {"y": tensors["x"][:1]}

    coalescer = Coalescer(send, max_batch=8, max_in_flight=1, on_batch=lambda *_: None)
    async with asyncio.timeout(1):
        calls = (coalescer.call(sized(float(number))) for number in range(3))
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [IndexError] * 3


async def test_a_batch_is_sent_in_its_own_callers_context() -> None:
    """Not in that of whoever's answer made room for it: log lines and traces name the request."""
    asked: ContextVar[int] = ContextVar("asked")
    sent: list[int] = []

    async def send(tensors: Tensors) -> Tensors:
        sent.append(asked.get())
        await asyncio.sleep(0)
        return tensors

    coalescer = Coalescer(send, max_batch=1, max_in_flight=1, on_batch=lambda *_: None)

    async def caller(number: int) -> None:
        asked.set(number)
        await coalescer.call({"x": np.zeros(1, np.float32)})

    await asyncio.gather(*(asyncio.create_task(caller(number)) for number in range(4)))
    assert sent == [0, 1, 2, 3]
