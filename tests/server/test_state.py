"""What outlives a call: the same in this process and in a real Redis, which several gateways share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from wmserve_server.answers import ANSWERED, LIFETIME_S, Answers, Keyed
from wmserve_server.errors import (
    InvalidArgument,
    KeyInUse,
    KeyReused,
    LatentsNotFound,
    StateUnavailable,
)
from wmserve_server.latents import LatentsStore
from wmserve_server.metrics import Metrics
from wmserve_server.records import MadeByAnother, Unreadable, pack, unpack
from wmserve_server.redis_store import SharedState
from wmserve_server.store import InProcess, State, Store, in_process
from wmserve_server.watching import Watch, Watches

from tests.conftest import RedisServer
from tests.worlds import make_world

LATENTS = np.arange(32, dtype=np.float32).reshape(1, 32)


@asynccontextmanager
async def shared(redis_server: RedisServer) -> AsyncIterator[State]:
    """State as one gateway has it."""
    server = SharedState(redis_server.url, Metrics())
    await server.start()
    try:
        yield server.state()
    finally:
        await server.stop()


@pytest.fixture(params=["in_process", "redis"])
async def state(request: pytest.FixtureRequest) -> AsyncIterator[State]:
    if request.param == "in_process":
        yield in_process(InProcess(1 << 20))
        return
    async with shared(request.getfixturevalue("redis_server")) as found:
        yield found


async def test_a_store_keeps_and_forgets(state: State) -> None:
    """Values come back as they were put, each kind by itself, for their time, which is counted from its renewal."""
    store: Store = state.latents
    await store.put("key", b"\x00\xff", 30.0)
    assert (await store.get("key"), await state.decisions.get("key")) == (b"\x00\xff", None)
    await store.put("key", b"", 0.2)
    assert await store.get("key", 0.6) == b""
    await asyncio.sleep(0.3)
    assert await store.get("key") == b""
    await asyncio.sleep(0.4)
    assert await store.get("key") is None


async def test_a_swap_is_done_only_where_nothing_has_changed(state: State) -> None:
    """Nothing for something, something for something else, something for nothing; never from what is not there."""
    store = state.sessions
    assert not await store.swap("key", b"a", b"b", 30.0)
    assert await store.swap("key", None, b"a", 30.0)
    assert not await store.swap("key", None, b"b", 30.0)
    assert not await store.swap("key", b"", b"b", 30.0)
    assert await store.get("key") == b"a"
    assert await store.swap("key", b"a", b"", 30.0)
    assert not await store.swap("key", None, b"b", 30.0)
    assert await store.swap("key", b"", None, 30.0)
    assert await store.get("key") is None


async def test_replicas_that_write_one_session_at_once_lose_nothing(redis_server: RedisServer) -> None:
    """Sixty outcomes by three gateways, all at once: all sixty count, as in one gateway."""

    def take(watch: Watch) -> bool:
        watch.learn(0.01, covered=False)
        return watch.changed

    async with shared(redis_server) as one, shared(redis_server) as two, shared(redis_server) as three:
        replicas = [Watches(one.sessions), Watches(two.sessions), Watches(three.sessions)]
        for _ in range(10):
            await asyncio.gather(*(replica.update("w", "c", "s", 0.1, take) for replica in replicas * 2))
        alone = Watch(0.1)
        for _ in range(60):
            take(alone)
        found = await replicas[0].update("w", "c", "s", 0.1, Watch.dump)
        assert found == alone.dump()
        assert await replicas[1].changed("w", "c", "s")
        assert not await replicas[1].changed("w", "c", "another")


async def test_handles_of_another_version_are_refused_by_name(redis_server: RedisServer) -> None:
    """A replica whose world has other engines, or that writes another form, says so and does not read it."""
    async with shared(redis_server) as one, shared(redis_server) as two:
        world, older = make_world(), make_world(checkpoint="sha256:" + "1" * 64)
        latents_id = await LatentsStore(one.latents, 60).put(world, LATENTS, LATENTS[:, 0])
        theirs = LatentsStore(two.latents, 60)
        found = await theirs.get(world, latents_id, "")
        np.testing.assert_array_equal(found.latents, LATENTS)
        np.testing.assert_array_equal(found.ood, LATENTS[:, 0])
        with pytest.raises(MadeByAnother):
            await theirs.get(older, latents_id, "")
        await two.latents.put(latents_id, b"wmr2 something new", 60.0)
        with pytest.raises(LatentsNotFound, match="another version of the server"):
            await theirs.get(world, latents_id, "")


def test_records_that_are_not_what_they_say_are_not_read() -> None:
    """Cut short anywhere, longer than it should be, or of another kind: Unreadable, nothing else."""
    record = pack("latents", {"world": "toy"}, {"latents": LATENTS, "ood": None})
    facts, arrays = unpack("latents", record)
    assert (facts, list(arrays)) == ({"world": "toy"}, ["latents"])
    wrong = [record[:length] for length in range(len(record))] + [record + b"0", record.replace(b"[1, 32]", b"[-1,32]")]
    for damaged in wrong:
        with pytest.raises(Unreadable):
            unpack("latents", damaged)
    with pytest.raises(Unreadable):
        unpack("decision", record)


async def test_a_repeated_request_gets_the_first_answer(state: State) -> None:
    """Byte for byte and without work, also while the first is still at it; another request with that key is refused."""
    answers, done = Answers(state.answers, Metrics()), []
    asked = Keyed.of("key", b"request")

    async def work() -> bytes:
        done.append(1)
        await asyncio.sleep(0.1)
        return b"answer %d" % len(done)

    both = await asyncio.gather(answers.once(asked, work), answers.once(Keyed.of('"key"', b"request"), work))
    assert sorted(both) == [(b"answer 1", "first"), (b"answer 1", "replayed")]
    assert await answers.once(asked, work) == (b"answer 1", "replayed")
    assert await answers.once(Keyed.of("other", b"request"), work) == (b"answer 2", "first")
    with pytest.raises(KeyReused):
        await answers.once(Keyed.of("key", b"another request"), work)
    for key in ("", "a" * 256, "line\n", "ä"):
        with pytest.raises(InvalidArgument):
            Keyed.of(key, b"")


async def test_what_failed_is_not_kept_and_who_died_is_replaced(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error the key is free at once; after a death when its lease is over; while it lives others may wait."""
    monkeypatch.setattr("wmserve_server.answers.LEASE_S", 0.4)
    monkeypatch.setattr("wmserve_server.answers.PATIENCE_S", 0.8)
    answers, asked = Answers(state.answers, Metrics()), Keyed.of("key", b"")

    async def fail() -> bytes:
        raise StateUnavailable("no")

    async def work() -> bytes:
        return b"answer"

    async def take_long() -> bytes:
        await asyncio.sleep(1.5)
        return b"late"

    with pytest.raises(StateUnavailable):
        await answers.once(asked, fail)
    claims = state.answers
    assert await claims.get(asked.key) is None
    await claims.swap(asked.key, None, b"wma1c" + asked.fingerprint + b"of one that died", 0.4)
    assert await answers.once(asked, work) == (b"answer", "first")
    slow = Keyed.of("slow", b"")
    first = asyncio.create_task(answers.once(slow, take_long))
    await asyncio.sleep(0.05)
    with pytest.raises(KeyInUse):
        await answers.once(slow, work)
    assert await answers.once(slow, work) == (b"late", "replayed")
    assert await first == (b"late", "first")
    overtaken = Keyed.of("overtaken", b"")

    async def be_overtaken() -> bytes:
        await claims.put(overtaken.key, ANSWERED + overtaken.fingerprint + b"theirs", LIFETIME_S)
        return b"ours"

    assert await answers.once(overtaken, be_overtaken) == (b"theirs", "replayed")


async def test_a_store_that_is_away_is_said_to_be_and_is_found_again(redis_server: RedisServer) -> None:
    """Calls fail at once and say so; keyed requests are answered all the same; what comes after works again."""
    async with shared(redis_server) as state:
        assert state.problem() is None
        redis_server.end()
        for _ in range(20):
            with pytest.raises(StateUnavailable):
                await asyncio.wait_for(state.latents.put("key", b"", 30.0), 1.5)
        assert state.problem() is not None

        async def work() -> bytes:
            return b"answer"

        assert await Answers(state.answers, Metrics()).once(Keyed.of("key", b""), work) == (b"answer", "not_kept")
        redis_server.start()
        for _ in range(30):
            if state.problem() is None:
                break
            await asyncio.sleep(0.1)
        await state.latents.put("key", b"again", 30.0)
        assert await state.latents.get("key") == b"again"
