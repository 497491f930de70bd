"""The latents store: bounded in bytes and in time, and strict about worlds."""

import numpy as np
import pytest
from wmserve.world import World
from wmserve_server.errors import LatentsNotFound, StateUnavailable
from wmserve_server.latents import LatentsStore
from wmserve_server.records import MadeByAnother, origin, pack
from wmserve_server.store import ENTRY_BYTES, InProcess

from tests.worlds import make_world

LATENTS = np.zeros((1, 32), np.float32)
ENTRY = len(pack("latents", origin(make_world()), {"latents": LATENTS})) + ENTRY_BYTES


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> InProcess:
    return InProcess(10 * ENTRY, clock)


@pytest.fixture
def kept(memory: InProcess) -> LatentsStore:
    return LatentsStore(memory, lifetime_s=60)


async def is_gone(kept: LatentsStore, world: World, latents_id: str) -> bool:
    try:
        await kept.get(world, latents_id, "context.latents_id")
    except (LatentsNotFound, MadeByAnother):
        return True
    return False


async def test_handles_are_unguessable_and_give_back_what_was_put(kept: LatentsStore) -> None:
    """A handle is 128 bits of chance; what it stands for comes back unchanged."""
    world = make_world()
    first, second = [await kept.put(world, np.full((1, 32), value, np.float32)) for value in (1, 2)]
    assert first != second
    assert len(first) == len("lat_") + 22
    assert (await kept.get(world, second, "")).latents[0, 0] == 2


async def test_handles_expire_after_their_last_use(kept: LatentsStore, memory: InProcess, clock: Clock) -> None:
    """A handle that is used lives on; one that is not is gone after its lifetime."""
    world = make_world()
    used, unused = await kept.put(world, LATENTS), await kept.put(world, LATENTS)
    clock.now = 40
    await kept.get(world, used, "")
    clock.now = 61
    assert await is_gone(kept, world, unused)
    assert not await is_gone(kept, world, used)
    await kept.put(world, LATENTS)
    assert len(memory) == 2, "who is gone takes no room"


async def test_store_never_holds_more_than_its_capacity(kept: LatentsStore, memory: InProcess) -> None:
    """When room is needed, what was used longest ago goes first."""
    world = make_world()
    handles = [await kept.put(world, LATENTS) for _ in range(10)]
    await kept.get(world, handles[0], "")
    more = await kept.put(world, LATENTS)
    assert len(memory) == 10
    assert await is_gone(kept, world, handles[1])
    assert not await is_gone(kept, world, handles[0])
    assert not await is_gone(kept, world, more)


async def test_handles_belong_to_the_world_that_made_them(kept: LatentsStore) -> None:
    """Another world, or the same name with another encoder, does not get these latents; another version may."""
    world = make_world()
    latents_id = await kept.put(world, LATENTS)
    assert await is_gone(kept, make_world(name="other"), latents_id)
    assert await is_gone(kept, make_world(checkpoint="sha256:" + "1" * 64), latents_id)
    rebuilt = world.digests.model_copy(update={"engines": {"encode/engine.plan": "sha256:" + "2" * 64}})
    assert await is_gone(kept, world.model_copy(update={"digests": rebuilt}), latents_id)
    assert not await is_gone(kept, world, latents_id)
    replanned = rebuilt.model_copy(update={"engines": {"encode/a.onnx": "sha256:" + "2" * 64, "plan/b.onnx": "1"}})
    first = world.model_copy(update={"digests": replanned})
    other = first.digests.model_copy(update={"engines": {**first.digests.engines, "plan/b.onnx": "2"}})
    second = first.model_copy(update={"version": 2, "digests": other})
    assert not await is_gone(kept, second, await kept.put(first, LATENTS)), "its encoder is the same"


async def test_what_has_no_room_at_all_gets_no_handle_and_takes_nobody_elses(kept: LatentsStore) -> None:
    """Latents larger than the store are refused before anything is thrown away for them."""
    world = make_world()
    latents_id = await kept.put(world, LATENTS)
    with pytest.raises(StateUnavailable):
        await kept.put(world, np.zeros((1000, 32), np.float32))
    assert not await is_gone(kept, world, latents_id)
