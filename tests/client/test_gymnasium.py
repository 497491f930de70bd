"""Gymnasium both ways: an agent in Two-Room by plans of a real server, and that server's world as an environment."""

from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
import wmserve_client as wm
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from wmserve_client.gymnasium import Agent, DreamEnv, Readings
from wmserve_client.gymnasium_vector import VectorAgent

from clients.python.examples.two_room import TwoRoom
from tests.conftest import ROOT, Server

WORLD = "two_room"
START, GOAL = ((ROOT / "docs" / f"{name}.png").read_bytes() for name in ("start", "goal"))
IMPOSSIBLE = wm.Constraint("keep_in", {"agent_x": (0.0, 1.0)})

# gymnasium's checkers say that these environments have no spec: they are not made by name.
pytestmark = pytest.mark.filterwarnings("ignore:.*WARN:UserWarning")


@pytest.fixture
def client(server: Server) -> Iterator[wm.Client]:
    with wm.Client(server.grpc) as opened:
        yield opened


def to_the_left(readings: Readings) -> float:
    return -readings["agent_x"]


def dream(client: wm.Client, **options: object) -> DreamEnv:
    return DreamEnv(client, WORLD, [START], to_the_left, **options)  # type: ignore[arg-type]


def right(env: DreamEnv) -> np.ndarray:
    return np.full(env.action_space.shape, 0.5, np.float32)


def test_agent_reaches_goals_in_the_environment(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """The example plays Two-Room from pictures to pictures."""
    from clients.python.examples import play_gymnasium

    play_gymnasium.main(server.grpc, "2")
    assert capsys.readouterr().out.count("goal reached in ") == 2


def test_a_refused_plan_is_not_executed(client: wm.Client) -> None:
    """The agent raises, or does what the caller has called safe and then plans again."""
    env: gymnasium.Env[object, object] = gymnasium.Env()
    env.action_space = spaces.Box(-1, 1, (1, 2), np.float32)
    strict = Agent(wm.PlanningPolicy(client, WORLD, constraints=[IMPOSSIBLE]), env)
    strict.reset(GOAL)
    frame = np.zeros((224, 224, 3), np.uint8)
    with pytest.raises(wm.PlanRefusedError, match="constraint"):
        strict.act(frame)
    careful = Agent(wm.PlanningPolicy(client, WORLD, constraints=[IMPOSSIBLE], safe_action=[0.25, 0.0]), env)
    careful.reset(GOAL)
    plans = []
    for _ in range(6):
        np.testing.assert_array_equal(careful.act({"pixels": frame}), [[0.25, 0.0]])
        plans.append(careful.policy.last_plan)
    assert plans[0] is plans[4]
    assert plans[0] is not plans[5]


def test_a_refused_plan_is_not_made_again(client: wm.Client) -> None:
    """A policy's plans have seeds of their own; an episode's follow from the one that the caller gave."""
    frame = np.zeros((224, 224, 3), np.uint8)

    def played(policy: wm.PlanningPolicy) -> list[int]:
        policy.reset(GOAL)
        found = []
        for _ in range(3):
            policy.chunk(frame)
            assert policy.last_plan is not None
            assert policy.last_plan.status == "refused"
            found.append(policy.last_plan.seed)
        return found

    def policy(planner: wm.PlannerOptions | None) -> wm.PlanningPolicy:
        return wm.PlanningPolicy(client, WORLD, planner=planner, constraints=[IMPOSSIBLE], safe_action=[0, 0])

    seeded = policy(wm.PlannerOptions(seed=7))
    found = played(seeded)
    assert found[0] == 7
    assert len(set(found)) == 3
    assert played(seeded) == found, "the next episode is as reproducible as the first"
    assert len(set(found + played(policy(None)))) == 6


def test_an_environment_that_does_not_fit_is_named(client: wm.Client) -> None:
    """Other actions than the world's, narrower bounds, and observations without a frame."""
    env: gymnasium.Env[object, object] = gymnasium.Env()
    policy = wm.PlanningPolicy(client, WORLD)
    env.action_space = spaces.Discrete(4)
    with pytest.raises(ValueError, match=r"velocity_x, velocity_y; the environment takes Discrete\(4\)"):
        Agent(policy, env)
    env.action_space = spaces.Box(0, 0.001, (2,), np.float32)
    agent = Agent(policy, env)
    agent.reset(GOAL)
    with pytest.raises(TypeError, match="AddRenderObservation"):
        agent.act(np.zeros(3, np.float32))
    narrow = Agent(wm.PlanningPolicy(client, WORLD, safe_action=[-1, -1], constraints=[IMPOSSIBLE]), env)
    narrow.reset(GOAL)
    with pytest.raises(ValueError, match="the plan says"):
        narrow.act(np.zeros((64, 64, 3), np.uint8))


def test_a_vector_environment_is_not_one_episode(client: wm.Client) -> None:
    """An agent of one episode does not take it, even of one environment."""
    envs = SyncVectorEnv([lambda: TwoRoom(1)])
    with pytest.raises(ValueError, match="VectorAgent"):
        Agent(wm.PlanningPolicy(client, WORLD), envs)
    envs.close()


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_environments_of_a_pool_end_one_at_a_time(client: wm.Client, mode: AutoresetMode) -> None:
    """A plan is not executed in the next episode, and none is made of the last frame of one."""
    envs = SyncVectorEnv([lambda: TwoRoom(7), lambda: TwoRoom(3)], autoreset_mode=mode)
    agent = VectorAgent(
        lambda: wm.PlanningPolicy(client, WORLD, safe_action=(0, 0)), envs, goal=lambda seen: seen["goal"]
    )
    observations, _ = envs.reset(seed=[3, 4])
    ended, plans = None, []
    for _ in range(9):
        actions = agent.act(observations, ended)
        plans.append([policy.last_plan for policy in agent._policies])
        observations, _, terminated, truncated, _ = envs.step(actions)
        ended = terminated | truncated
    envs.close()
    made = [[step for step in range(1, 9) if plans[step][one] is not plans[step - 1][one]] for one in range(2)]
    assert made == ([[5, 7], [3, 6]] if mode is AutoresetMode.SAME_STEP else [[5, 8], [4, 8]])


def test_a_pool_that_does_not_fit_is_named(client: wm.Client) -> None:
    """Other actions, and a pool that does not say how it resets."""

    def make() -> wm.PlanningPolicy:
        return wm.PlanningPolicy(client, WORLD)

    envs = SyncVectorEnv([lambda: TwoRoom(1)])
    envs.single_action_space = spaces.Discrete(4)
    with pytest.raises(ValueError, match=r"these take Discrete\(4\)"):
        VectorAgent(make, envs, goal=lambda _: GOAL)
    envs.metadata = {}
    with pytest.raises(ValueError, match="autoreset_mode"):
        VectorAgent(make, envs, goal=lambda _: GOAL)
    envs.close()


def test_a_step_that_failed_was_not_taken(client: wm.Client) -> None:
    """An action that the server does not take, or a start that it cannot read, leaves nothing behind."""
    env = dream(client)
    env.reset(seed=1)
    with pytest.raises(wm.InvalidRequest):
        env.step(np.full_like(right(env), np.nan))
    assert env.step(right(env))[4]["steps"] == 1
    with pytest.raises(wm.InvalidRequest):
        env.reset(options={"start": b"no picture"})
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(right(env))


def test_the_dream_is_an_environment(client: wm.Client) -> None:
    """Gymnasium's own checker has nothing to object: spaces, seeds, determinism, infos."""
    check_env(dream(client))


def test_the_dream_is_what_a_rollout_expects(client: wm.Client) -> None:
    """Observations, rewards and radii are those of one rollout of all the actions; the horizon truncates."""
    env = dream(client)
    env.reset(seed=1)
    steps = [env.step(right(env)) for _ in range(10)]
    expected = client.rollout(WORLD, START, np.full((50, 2), 0.5))
    np.testing.assert_allclose([step[0] for step in steps], expected.readouts[0], rtol=1e-3)
    assert [step[1] for step in steps] == [-float(step[0][0]) for step in steps]
    assert expected.radius is not None
    np.testing.assert_allclose([step[4]["radius"] for step in steps], expected.radius[0], rtol=1e-3)
    assert [step[3] for step in steps] == [False] * 9 + [True]
    assert not any(step[2] for step in steps)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(right(env))


def test_the_dream_ends_where_trust_ends(client: wm.Client) -> None:
    """Radii over the tolerance truncate the episode, unless the caller goes on past them; goals terminate it."""
    env = dream(client, tolerance=0.5)
    env.reset(seed=1)
    ends = []
    while not (ends and ends[-1][3]):
        ends.append(env.step(right(env)))
    assert [end[4]["trusted"] for end in ends] == [True] * (len(ends) - 1) + [False]
    assert 1 < len(ends) < 10
    further = dream(client, tolerance=0.5, past_trust=True, reached=lambda readings: readings["agent_x"] > 95)
    further.reset(seed=1, options={"start": client.encode(WORLD, START)})
    steps = [further.step(right(further)) for _ in range(10)]
    assert [step[3] for step in steps] == [False] * 9 + [True]
    assert any(step[2] for step in steps)


def test_rehearsing_finds_something(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """The example says how near it came, and how far to believe that."""
    from clients.python.examples import rehearse_gymnasium

    rehearse_gymnasium.main(server.grpc, "3")
    assert "nearest: " in capsys.readouterr().out
