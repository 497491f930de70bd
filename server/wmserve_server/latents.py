"""Keeps latents behind handles, each for a time after its last use."""

import secrets
from dataclasses import dataclass

from wmserve.world import World

from wmserve_server.backend import Floats
from wmserve_server.errors import LatentsNotFound
from wmserve_server.records import Unreadable, made_by, origin, pack, unpack
from wmserve_server.store import Store


@dataclass(frozen=True)
class Entry:
    """Latents `[T, D]`, and how unlike others their frames were `[T]`, if that is known."""

    latents: Floats
    ood: Floats | None


class LatentsStore:
    """Handles and what they stand for; they belong to the world and the engines that made them."""

    def __init__(self, store: Store, lifetime_s: float) -> None:
        self.lifetime_s = lifetime_s
        self._store = store

    async def put(self, world: World, latents: Floats, ood: Floats | None = None) -> str:
        """Keep latents, and scores of their frames, and return their handle; StateUnavailable if that cannot be."""
        latents_id = f"lat_{secrets.token_urlsafe(16)}"
        await self._store.put(
            latents_id, pack("latents", origin(world), {"latents": latents, "ood": ood}), self.lifetime_s
        )
        return latents_id

    async def get(self, world: World, latents_id: str, field: str) -> Entry:
        """Return latents, and let them live on; LatentsNotFound if gone, MadeByAnother if of another encoder."""
        record = await self._store.get(latents_id, self.lifetime_s)
        if record is None:
            raise LatentsNotFound("unknown or expired; encode the observation again", field=field)
        try:
            facts, arrays = unpack("latents", record)
            found = Entry(arrays["latents"], arrays.get("ood"))
        except (Unreadable, KeyError):
            raise LatentsNotFound("was kept by another version of the server; encode again", field=field) from None
        if not made_by(facts, world, field):
            raise LatentsNotFound(f"was not made by world {world.name}", field=field)
        # Scores of one calibration mean nothing to another.
        return found if facts.get("scored_by") == origin(world)["scored_by"] else Entry(found.latents, None)
