"""The latents store: bounded in bytes and in time, and strict about worlds."""

import numpy as np
import pytest
from wmserve.world import World
from wmserve_server.errors import LatentsNotFound
from wmserve_server.latents import LatentsStore

from tests.worlds import make_world

LATENTS = np.zeros((1, 32), np.float32)


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def store(clock: Clock, capacity: int = 10 * LATENTS.nbytes) -> LatentsStore:
    return LatentsStore(capacity, lifetime_s=60, clock=clock)


def is_gone(kept: LatentsStore, world: World, latents_id: str) -> bool:
    try:
        kept.get(world, latents_id, "context.latents_id")
    except LatentsNotFound:
        return True
    return False


def test_handles_are_unguessable_and_give_back_what_was_put(clock: Clock) -> None:
    """A handle is 128 bits of chance; what it stands for comes back unchanged."""
    kept, world = store(clock), make_world()
    first, second = (kept.put(world, np.full((1, 32), value, np.float32)) for value in (1, 2))
    assert first != second
    assert len(first) == len("lat_") + 22
    assert kept.get(world, second, "").latents[0, 0] == 2


def test_handles_expire_after_their_last_use(clock: Clock) -> None:
    """A handle that is used lives on; one that is not is gone after its lifetime."""
    kept, world = store(clock), make_world()
    used, unused = kept.put(world, LATENTS), kept.put(world, LATENTS)
    clock.now = 40
    kept.get(world, used, "")
    clock.now = 61
    assert is_gone(kept, world, unused)
    assert not is_gone(kept, world, used)
    assert len(kept) == 1


def test_store_never_holds_more_than_its_capacity(clock: Clock) -> None:
    """When room is needed, what was used longest ago goes first."""
    kept, world = store(clock), make_world()
    handles = [kept.put(world, LATENTS) for _ in range(10)]
    kept.get(world, handles[0], "")
    more = kept.put(world, LATENTS)
    assert len(kept) == 10
    assert is_gone(kept, world, handles[1])
    assert not is_gone(kept, world, handles[0])
    assert not is_gone(kept, world, more)


def test_handles_belong_to_the_world_that_made_them(clock: Clock) -> None:
    """Another world, or the same name with another checkpoint, does not get these latents."""
    kept, world = store(clock), make_world()
    latents_id = kept.put(world, LATENTS)
    assert is_gone(kept, make_world(name="other"), latents_id)
    assert is_gone(kept, make_world(checkpoint="sha256:" + "1" * 64), latents_id)
    assert not is_gone(kept, world, latents_id)
