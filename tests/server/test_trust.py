"""What a calibration makes of answers: radii, p-values, and horizons that end where radii are too wide."""

import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from wmserve.world import QUANTILE_LEVELS, Calibration, Level, Quantiles, World
from wmserve_client import Acted, Client, InvalidRequest, WmserveError
from wmserve_export.reference import calibrate, environment
from wmserve_server import trust
from wmserve_server.backend import Rolled, Start
from wmserve_server.decisions import Decisions
from wmserve_server.errors import DecisionNotFound
from wmserve_server.errors import InvalidArgument as Refused
from wmserve_server.store import InProcess
from wmserve_server.watching import Watch, Watches

from tests.conftest import Server
from tests.worlds import make_world

WORLD = "two_room"


def calibrated() -> World:
    """A world of horizon 10 and two readouts, calibrated at two levels."""
    world, ramp = make_world(), tuple(np.linspace(0, 10, len(QUANTILE_LEVELS)))
    levels = tuple(
        Level(level=p, radius=(k,) * 10, joint_radius=(2 * k,) * 10, readout_radius=(k, 3 * k) * 10)
        for p, k in ((0.5, 1.0), (0.9, 2.0))
    )
    calibration = Calibration(
        digest="sha256:" + 64 * "0",
        engines={},
        files={},
        created="2026-01-01T00:00:00+00:00",
        trajectories=99,
        tolerance=1.0,
        levels=levels,
        disagreement_scale=(0.1,) * 10,
        distance_scale=(0.2,) * 10,
        quantiles=Quantiles(ood=ramp, disagreement=10 * ramp, distance=10 * ramp, surprise=10 * ramp),
        effective_rank=10,
        smallest_std=1,
    )
    return world.model_copy(update={"calibration": calibration})


def rolled(*errors: float) -> Rolled:
    """A rollout of one candidate that expects these errors."""
    error = np.array([errors], np.float32)
    steps = len(errors)
    nothing = np.zeros((1, steps, 2), np.float32)
    return Rolled(np.zeros((1, steps, 32), np.float32), error / 10, nothing, error, distance=error)


def test_radii_are_expected_errors_times_the_levels_factors() -> None:
    """Of each step, of all steps, of each readout."""
    world = calibrated()
    asked = trust.confidence(world, None, None)
    assert asked is not None
    found = trust.of_rollouts(world, rolled(0.1, 0.2), asked)
    np.testing.assert_allclose(found.radius, [[0.2, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(found.joint_radius, [[0.4, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(found.readout_radius, [[[0.2, 0.6], [0.4, 1.2]]], rtol=1e-6)
    np.testing.assert_allclose(found.ood, [1.0], rtol=1e-6)
    assert found.disagreement_p_value[0] > found.ood_p_value[0]


@pytest.mark.parametrize(("tolerance", "horizon"), [(None, 1), (0.1, 0), (3.0, 3)])
def test_the_trusted_horizon_ends_where_a_radius_is_over_the_tolerance(tolerance: float | None, horizon: int) -> None:
    """At the first such step, also where a later one is smaller again."""
    world = calibrated()
    asked = trust.confidence(world, 0.9, tolerance)
    assert asked is not None
    assert trust.of_rollouts(world, rolled(0.4, 0.6, 0.3), asked).trusted_horizon.tolist() == [horizon]


def test_p_values_fall_with_the_score_and_are_never_0() -> None:
    """What is beyond all of the calibration could still be one in a hundred."""
    calibration = calibrated().calibration
    assert calibration is not None
    values = trust.p_values(calibration.quantiles.ood, np.array([-1.0, 0.0, 5.0, 9.0, 1e9]), calibration.trajectories)
    assert values[0] == values[1] == 1
    assert (np.diff(values[1:]) < 0).all()
    assert values[-1] == pytest.approx(0.01)


@pytest.mark.parametrize(("score", "expected"), [(0.0, 1.0), (1.0, 0.51), (2.0, 0.01)])
def test_among_equal_scores_all_count_as_as_high(score: float, expected: float) -> None:
    """Of a world with one member all rollouts agree with themselves: none of them is strange."""
    half = len(QUANTILE_LEVELS) // 2
    quantiles = [0.0] * (half - 1) + [1.0] * (len(QUANTILE_LEVELS) - half + 1)
    assert trust.p_values(quantiles, np.array([score]), 99)[0] == pytest.approx(expected, abs=0.02)
    assert trust.p_values([0.0] * len(QUANTILE_LEVELS), np.array([0.0]), 99)[0] == 1


def test_a_world_without_readouts_has_no_radii_of_them() -> None:
    """And is judged otherwise as any."""
    world = calibrated()
    assert world.calibration is not None
    levels = tuple(level.model_copy(update={"readout_radius": ()}) for level in world.calibration.levels)
    world = world.model_copy(
        update={"readouts": (), "calibration": world.calibration.model_copy(update={"levels": levels})}
    )
    asked = trust.confidence(world, None, None)
    assert asked is not None
    assert trust.of_rollouts(world, rolled(0.1, 0.2), asked).readout_radius is None


def test_a_radius_that_may_miss_nothing_is_none() -> None:
    """No error of the calibration says how wide it would have to be; one that may miss all is the least seen."""
    calibration = calibrated().calibration
    assert calibration is not None
    found = trust.surprise(calibration, error=1.0, expected_error=0.5, steps=2)
    assert found.value == 4
    assert found.radius(0.001) is None
    assert found.radius(-1.0) is None
    assert found.radius(2.0) == 0
    assert found.radius(0.5) == pytest.approx(0.5 * np.sqrt(calibration.quantiles.surprise[50]))


def test_a_level_that_was_not_calibrated_is_refused_by_name() -> None:
    """And says which there are; a world without a calibration says that."""
    with pytest.raises(Refused, match=r"calibrated at 0\.5, 0\.9"):
        trust.confidence(calibrated(), 0.7, None)
    with pytest.raises(Refused, match="not calibrated"):
        trust.confidence(make_world(), None, 0.5)
    assert trust.confidence(make_world(), None, None) is None


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    """A client of the reference world."""
    with Client(server.grpc) as connected:
        yield connected


def test_the_reference_world_is_calibrated_for_its_engines(client: Client, server: Server) -> None:
    """It says so on both wires."""
    world = client.world(WORLD)
    assert dict(world.calibration.engines) == dict(world.digests.engines)
    assert httpx.get(f"{server.http}/v1/worlds/{WORLD}").json()["calibration"]["trajectories"] >= 4000


def test_frames_that_are_none_are_told_apart(client: Client) -> None:
    """Noise and an empty room score beyond nearly all of the calibration; a frame of the world does not."""
    frame = environment.render(np.array([[60.0, 150.0]], np.float32), 80)[0].numpy()
    noise = np.random.default_rng(0).integers(0, 256, frame.shape, np.uint8)
    empty = environment.layout(80).numpy()
    p_values = [client.encode(WORLD, one).ood_p_value for one in (frame, noise, empty)]
    assert p_values[0] is not None
    assert p_values[0][0] > 0.05
    for other in p_values[1:]:
        assert other is not None
        assert other[0] < 0.01


def test_predictions_of_what_is_strange_are_not_called_precise(client: Client) -> None:
    """No radius is under the least of healthy rollouts, and where members disagree wildly it is wide."""
    healthy = list(calibrate.trajectories(calibrate.TEST_SEED, 20))
    actions = healthy[0].actions[:50]
    least = min(client.rollout(WORLD, one.observations[0], one.actions[:50]).radius.min() for one in healthy)  # type: ignore[union-attr]
    cyan = np.full((224, 224, 3), (0, 255, 255), np.uint8)
    for start in (cyan, np.zeros_like(cyan), np.full((1, 32), 100, np.float32)):
        found = client.rollout(WORLD, start, actions)
        assert found.radius is not None
        assert found.radius.min() > 0.3 * least
        assert found.trusted_horizon is not None
        assert found.trusted_horizon[0] < 10


def test_rollouts_say_how_far_they_may_be_trusted(client: Client, server: Server) -> None:
    """Radii hold for what then happened, most of the time; HTTP says the same as gRPC."""
    inside = []
    for one in calibrate.trajectories(calibrate.TEST_SEED, 20):
        found = client.rollout(WORLD, one.observations[0], one.actions[:50], return_latents=True)
        assert found.calibrated
        assert found.latents is not None
        assert found.radius is not None
        for step in (1, 10):
            seen = client.encode(WORLD, one.observations[step], return_latents=True).latents
            assert seen is not None
            inside.append(np.linalg.norm(seen[0] - found.latents[0, step - 1]) <= found.radius[0, step - 1])
    assert np.mean(inside) > 0.7
    latents_id = client.encode(WORLD, one.observations[0]).latents_id
    body = {"world": WORLD, "context": {"latents_id": latents_id}, "actions": one.actions[:50].tolist()}
    answer = httpx.post(f"{server.http}/v1/rollout", json=body).json()
    assert answer["calibrated"] is True
    assert answer["trusted_horizon"] == list(found.trusted_horizon or ())
    np.testing.assert_allclose(answer["radius"], found.radius, rtol=1e-5)


def test_a_wider_level_has_wider_radii_and_a_small_tolerance_a_short_horizon(client: Client) -> None:
    """Callers choose."""
    one = next(calibrate.trajectories(calibrate.TEST_SEED, 1))
    start = client.encode(WORLD, one.observations[0])
    narrow, wide = (client.rollout(WORLD, start, one.actions[:25], level=level) for level in (0.5, 0.99))
    assert narrow.radius is not None
    assert wide.radius is not None
    assert (narrow.radius < wide.radius).all()
    assert client.rollout(WORLD, start, one.actions[:25], tolerance=1e-6).trusted_horizon == (0,)
    with pytest.raises(InvalidRequest, match="level"):
        client.rollout(WORLD, start, one.actions[:25], level=0.42)


def test_dashboards_see_it(client: Client, server: Server) -> None:
    """Histograms of radii, horizons and p-values, by verb and world."""
    one = next(calibrate.trajectories(calibrate.TEST_SEED, 1))
    client.rollout(WORLD, one.observations[0], one.actions[:25])
    client.encode(WORLD, one.observations[0])
    text = httpx.get(f"{server.http}/metrics").text
    client.observe(WORLD, one.observations[1], Acted(one.observations[0], one.actions[:5]))
    text = httpx.get(f"{server.http}/metrics").text
    assert f'wmserve_surprise_p_value_count{{world="{WORLD}"}}' in text
    assert 'wmserve_outcomes_total{covered="' in text
    for name in ("wmserve_radius", "wmserve_trusted_horizon", "wmserve_ood_p_value"):
        assert f'{name}_count{{verb="rollout",world="{WORLD}"}}' in text
    assert f'wmserve_ood_p_value_count{{verb="encode",world="{WORLD}"}}' in text


def test_what_came_of_a_plan_is_no_surprise_in_the_world_it_was_made_for(client: Client, server: Server) -> None:
    """A plan's first actions, executed: an observation by the plan's handle, and by what was done, say the same."""
    door = np.array([80.0], np.float32)
    start, goal = np.array([[60.0, 150.0]], np.float32), np.array([[60.0, 60.0]], np.float32)
    frames = [environment.render(place, 80)[0].numpy() for place in (start, goal)]
    plan = client.plan(WORLD, frames[0], frames[1])
    place = start
    for action in plan.actions[:5]:
        place = environment.step(place, action[None], door)
    seen = environment.render(place, 80)[0].numpy()
    by_plan = client.observe(WORLD, seen, plan, session="plan")
    by_actions = client.observe(WORLD, seen, Acted(frames[0], plan.actions[:5]), session="actions")
    assert by_plan.calibrated
    assert by_plan.error == pytest.approx(by_actions.error, rel=1e-3)
    assert by_plan.surprise_p_value is not None
    assert by_plan.surprise_p_value > 0.01
    assert not by_plan.changed
    assert by_plan.observed == by_actions.observed == 1
    np.testing.assert_allclose(by_plan.readouts[:2], place[0], atol=10)
    body = {"world": WORLD, "decision_id": plan.decision_id, "observation": seen.tolist(), "session": "http"}
    answer = httpx.post(f"{server.http}/v1/observe", content=json.dumps(body)).json()
    assert answer["error"] == pytest.approx(by_plan.error, rel=1e-3)
    assert answer["covered"] == by_plan.covered


def test_a_world_that_has_changed_is_called_so(client: Client) -> None:
    """An agent that does not move is a surprise each time, until it is evident; another session knows nothing of it."""
    frame = environment.render(np.array([[60.0, 150.0]], np.float32), 80)[0].numpy()
    start = client.encode(WORLD, frame)
    right = Acted(start, np.tile(np.float32([1, 0]), (5, 1)))
    outcomes = [client.observe(WORLD, frame, right, session="stuck") for _ in range(30)]
    assert outcomes[-1].changed
    for one in outcomes:  # after some misses no radius is wide enough, and none is named
        assert one.covered == (one.radius is None or one.error <= one.radius)
    assert [one.radius for one in outcomes].count(None) > 20
    radii = [one.radius for one in outcomes[:5]]
    assert radii == sorted(radii)  # type: ignore[type-var]
    assert not client.observe(WORLD, frame, right).changed  # without a session each stands alone
    assert client.observe(WORLD, frame, Acted(start, np.zeros((5, 2))), session="other").changed is False


@pytest.mark.parametrize(
    ("done", "steps", "complaint"),
    [
        ("dec_" + "x" * 22, None, "unknown or expired"),
        ("plan", None, "decision_id"),
        (None, 7, "multiple of 5"),
        (None, 30, "at most the plan's 25"),
        (Acted(np.zeros((224, 224, 3), np.uint8), np.zeros((7, 2))), None, "multiple of 5"),
        (Acted(np.zeros((224, 224, 3), np.uint8), np.zeros((2, 5, 2))), None, "one candidate"),
        (Acted(np.zeros((224, 224, 3), np.uint8), np.zeros((5, 2))), 5, "executed_steps"),
    ],
)
def test_what_cannot_have_been_done_is_refused(
    client: Client, done: str | Acted | None, steps: int | None, complaint: str
) -> None:
    """By name."""
    frame = np.full((224, 224, 3), 255, np.uint8)
    with pytest.raises(WmserveError, match=complaint):
        client.observe(WORLD, frame, done or client.plan(WORLD, frame, frame), executed_steps=steps)


def p_values(count: int, seed: int) -> list[float]:
    """Even ones, as those of a world that is what it was."""
    values: list[float] = np.random.default_rng(seed).random(count).tolist()
    return values


def test_few_healthy_worlds_are_called_changed_however_long_they_are_watched() -> None:
    """At most one in a hundred; 300 sessions of 300 observations."""
    changed = 0
    for seed in range(300):
        watch = Watch(0.1)
        for p_value in p_values(300, seed):
            watch.learn(p_value, covered=True)
        changed += watch.changed
    assert changed <= 8  # 1 % of 300 would be 3; more than 8 has a chance of 0.4 %


def test_a_change_that_comes_late_is_found_soon() -> None:
    """After 500 healthy observations it takes a few more than at once, not hundreds."""
    watch = Watch(0.1)
    for p_value in p_values(500, seed=1):
        watch.learn(p_value, covered=True)
    assert not watch.changed
    for _ in range(10):
        watch.learn(0.005, covered=False)
    assert watch.changed


@pytest.mark.parametrize("worse", [1.0, 0.3, 0.1])
def test_the_radius_covers_as_often_as_asked_in_the_long_run(worse: float) -> None:
    """Also in a world that surprises more than it did: p-values that are smaller than they should be."""
    watch = Watch(0.1)
    for p_value in p_values(3000, seed=2):
        watch.learn(worse * p_value, covered=worse * p_value > watch.miss_rate)
    assert watch.coverage == pytest.approx(0.9, abs=0.02)


async def test_sessions_that_are_not_used_are_forgotten() -> None:
    """The oldest first: what callers name may not fill memory."""
    watches = Watches(InProcess(100 * 1024))

    async def observed(session: str, wanted: float = 0.1) -> int:
        def take(watch: Watch) -> int:
            watch.learn(0.5, covered=True)
            return watch.observed

        return await watches.update("world", "", session, wanted, take)

    assert [await observed("first"), await observed("first")] == [1, 2]
    for number in range(1000):
        assert await observed(str(number)) == 1
    assert await observed("first") == 1
    assert await observed("999") == 2
    assert await observed("999", 0.5) == 1, "each level has its own"
    assert [await observed(""), await observed("")] == [1, 1]


async def test_decisions_are_kept_for_their_world_and_time() -> None:
    """And no more of them than there is room for."""
    now = [0.0]
    decisions, world = Decisions(InProcess(3000, clock=lambda: now[0]), lifetime_s=10), make_world()
    start = Start(np.zeros((1, 32), np.float32), np.ones((5, 2), np.float32))
    kept = await decisions.put(world, start, np.zeros((5, 2), np.float32), 5)
    found = await decisions.get(world, kept)
    np.testing.assert_array_equal(found.start.latents, start.latents)
    np.testing.assert_array_equal(found.start.action_history, start.action_history)
    with pytest.raises(DecisionNotFound, match="not made by world"):
        await decisions.get(make_world("other"), kept)
    now[0] = 11.0
    with pytest.raises(DecisionNotFound, match="expired"):
        await decisions.get(world, kept)
    first, *_, last = [await decisions.put(world, start, np.zeros((5, 2), np.float32), 5) for _ in range(6)]
    await decisions.get(world, last)
    with pytest.raises(DecisionNotFound):
        await decisions.get(world, first)
