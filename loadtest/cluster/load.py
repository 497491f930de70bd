"""Callers that use everything that outlives a call: handles, decisions, sessions and idempotency keys.

    encode -> rollout by handle -> plan by handle, in a session -> observe what came of it, in that session -> again

Each call goes to whichever gateway is next, and each loop has a session of its own.
"""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from wmserve_client import AsyncClient, PlannerOptions, WmserveError

WORLD = "two_room"
CALLERS = 6
PAUSE_S = 0.04
PLANNER = PlannerOptions(candidate_count=32, iterations=2, horizon=5, seed=7)
GOAL = {"agent_x": 180.0, "agent_y": 60.0}
T = TypeVar("T")


def frame(seed: int) -> np.ndarray:
    """A frame that no other caller has."""
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)


def actions(seed: int) -> np.ndarray:
    """Candidates `[8, 25, 2]`."""
    return np.random.default_rng(seed).uniform(-1, 1, (8, 25, 2)).astype(np.float32)


@dataclass
class Tally:
    """What was asked, and what failed: when, which verb, and why."""

    answered: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[float, str, str]] = field(default_factory=list)
    in_flight: int = 0
    observed: dict[str, int] = field(default_factory=dict)
    """Observations answered, by session."""
    sessions: dict[str, int] = field(default_factory=dict)
    """Observations that the server had counted by then."""

    async def call(self, verb: str, asking: Awaitable[T]) -> T:
        """Await a call and count it."""
        self.in_flight += 1
        try:
            answer = await asking
        except WmserveError as error:
            self.failed.append((time.monotonic(), verb, f"{error.reason}: {error}"))
            raise
        finally:
            self.in_flight -= 1
        self.answered[verb] = self.answered.get(verb, 0) + 1
        return answer


async def loop(client: AsyncClient, tally: Tally, number: int, stop: asyncio.Event) -> None:
    """One caller, until it is told to stop; what fails is counted, and begun anew."""
    session, seen = f"caller_{number}", frame(number)
    while not stop.is_set():
        try:
            encoded = await tally.call("encode", client.encode(WORLD, seen))
            await asyncio.sleep(PAUSE_S)
            await tally.call("rollout", client.rollout(WORLD, encoded, actions(number)))
            await asyncio.sleep(PAUSE_S)
            plan = await tally.call("plan", client.plan(WORLD, encoded, GOAL, planner=PLANNER, session=session))
            await asyncio.sleep(PAUSE_S)
            told = client.observe(WORLD, seen, plan.decision_id, session=session)
            outcome = await tally.call("observe", told)
            tally.observed[session] = tally.observed.get(session, 0) + 1
            tally.sessions[session] = outcome.observed or 0
        except WmserveError:
            pass
        await asyncio.sleep(PAUSE_S)


def start(client: AsyncClient, tally: Tally, stop: asyncio.Event) -> list["asyncio.Task[None]"]:
    """All callers."""
    return [asyncio.create_task(loop(client, tally, number, stop)) for number in range(CALLERS)]
