"""Remembers what was decided, for a time, so that callers can say later what came of it."""

import secrets
from dataclasses import dataclass

import numpy as np
from wmserve.world import World

from wmserve_server.backend import Floats, Start
from wmserve_server.errors import DecisionNotFound
from wmserve_server.records import Unreadable, made_by, origin, pack, unpack
from wmserve_server.store import Store

FIELD = "decision_id"


@dataclass(frozen=True)
class Decision:
    """Actions `[N, A]` that a world was to be moved by, from where on."""

    start: Start
    actions: Floats
    execute_steps: int
    """Environment steps of them that were to be executed before planning again."""


class Decisions:
    """Handles and what they stand for; they belong to the world and the engines that decided."""

    def __init__(self, store: Store, lifetime_s: float) -> None:
        self._store = store
        self._lifetime_s = lifetime_s

    async def put(self, world: World, start: Start, actions: Floats, execute_steps: int) -> str:
        """Keep a decision and return its handle; StateUnavailable if that cannot be."""
        decision_id = f"dec_{secrets.token_urlsafe(16)}"
        arrays = {"latents": start.latents, "action_history": start.action_history, "actions": actions}
        arrays["execute_steps"] = np.array([execute_steps], np.float32)
        await self._store.put(decision_id, pack("decision", origin(world), arrays), self._lifetime_s)
        return decision_id

    async def get(self, world: World, decision_id: str) -> Decision:
        """Return a decision; DecisionNotFound if it is gone or another world's, MadeByAnother if of another encoder."""
        record = await self._store.get(decision_id)
        if record is None:
            raise DecisionNotFound("unknown or expired; send `acted` instead", field=FIELD)
        try:
            facts, arrays = unpack("decision", record)
            start = Start(arrays["latents"], arrays.get("action_history"))
            found = Decision(start, arrays["actions"], int(arrays["execute_steps"][0]))
        except (Unreadable, KeyError):
            raise DecisionNotFound("was kept by another version of the server; send `acted`", field=FIELD) from None
        if not made_by(facts, world, FIELD):
            raise DecisionNotFound(f"was not made by world {world.name}", field=FIELD)
        return found
