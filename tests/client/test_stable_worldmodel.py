"""stable-worldmodel's own evaluation drives the server as a policy, in the real environment."""

from collections.abc import Iterator

import numpy as np
import pytest
from wmserve_client import Client, PlanningPolicy, PlanRefusedError

from loadtest.evaluation import protocols, two_room
from loadtest.evaluation.two_room import wilson
from tests.conftest import Server

EPISODES = 6

# gymnasium's checker has something to say of the peer's environment: its observations are torch tensors.
pytestmark = pytest.mark.filterwarnings("ignore:.*WARN:UserWarning")


def test_world_evaluate_reaches_goals_through_the_server(server: Server) -> None:
    """Through `World.evaluate`, the served policy solves problems that doing nothing does not."""
    from wmserve_client.stable_worldmodel import ServerPolicy

    from loadtest.evaluation.baselines import Idle

    protocol = protocols.PROTOCOLS[0]
    problems = protocols.draw(protocol, EPISODES)
    with Client(server.grpc) as client:
        served = protocols.play(protocol, problems, ServerPolicy(client, "two_room"), "wmserve")
    idle = protocols.play(protocol, problems, Idle(), "no action")
    assert served.sum() >= EPISODES - 1
    assert idle.sum() == 0


def test_one_policy_plays_one_evaluation_after_another(server: Server) -> None:
    """The pool is reset for other problems, and says so by no flag: old goals and actions are forgotten."""
    from wmserve_client.stable_worldmodel import ServerPolicy

    protocol = protocols.PROTOCOLS[0]
    many = protocols.draw(protocol, 2 * EPISODES)
    first, second = (part(many, half * EPISODES, EPISODES) for half in range(2))
    with Client(server.grpc) as client:
        world = protocols.arena(first)
        world.set_policy(ServerPolicy(client, "two_room"))
        successes = [protocols.evaluate(world, problems, protocol.budget) for problems in (first, second)]
        world.close()
    assert [one.sum() >= EPISODES - 1 for one in successes] == [True, True], successes


def part(problems: protocols.Problems, first: int, count: int) -> protocols.Problems:
    """Some of the problems."""
    chosen = slice(first, first + count)
    return protocols.Problems(problems.starts[chosen], problems.goals[chosen], problems.doors[chosen], 0)


@pytest.fixture
def pool() -> Iterator[protocols.World]:
    """Two environments at the starts of two problems."""
    world = protocols.arena(protocols.draw(protocols.PROTOCOLS[0], 2))
    world.reset(seed=0)
    world.infos["goal"] = world.infos["pixels"][::-1].copy()
    yield world
    world.close()


def test_each_environment_plans_anew_when_its_episode_is_another(server: Server, pool: protocols.World) -> None:
    """A flag, a count of steps that begins again, another goal: in that environment alone, at once."""
    from wmserve_client.stable_worldmodel import ServerPolicy

    infos = pool.infos
    with Client(server.grpc) as client:
        policy = ServerPolicy(client, "two_room")
        pool.set_policy(policy)

        def planned(step: int) -> list[bool]:
            """In which environments this call made a plan."""
            infos["step_idx"][:, 0] += step
            before = [one.last_plan for one in policy._policies]
            policy.get_action(infos)
            return [one.last_plan is not last for one, last in zip(policy._policies, before, strict=True)]

        assert planned(0) == [True, True]
        assert planned(1) == [False, False]
        infos["_needs_flush"] = np.array([False, True])
        assert planned(1) == [False, True]
        infos["goal"][0] = infos["pixels"][0]  # in place, as the pool writes it
        assert planned(1) == [True, False]
        infos["step_idx"][0] = -1
        assert planned(1) == [True, False]
        infos["terminated"][0] = True
        infos["goal"][:] = infos["pixels"][1]
        assert planned(1) == [False, True]
        infos["terminated"][0] = False
        assert planned(1) == [True, False]


def test_a_policy_moves_to_a_pool_of_another_size(server: Server, pool: protocols.World) -> None:
    """After set_policy it acts there; before, that is said."""
    from wmserve_client.stable_worldmodel import ServerPolicy

    larger = protocols.arena(protocols.draw(protocols.PROTOCOLS[0], 3))
    larger.reset(seed=0)
    larger.infos["goal"] = larger.infos["pixels"]
    with Client(server.grpc) as client:
        policy = ServerPolicy(client, "two_room")
        pool.set_policy(policy)
        with pytest.raises(ValueError, match="infos of 3 environments, set_env was called with 2"):
            policy.get_action(larger.infos)
        larger.set_policy(policy)
        assert policy.get_action(larger.infos).shape == (3, 2)
        pool.set_policy(policy)
        assert policy.get_action(pool.infos).shape == (2, 2)
    larger.close()


def test_a_plan_that_fails_takes_no_action_from_the_others(server: Server, pool: protocols.World) -> None:
    """One environment's plan is refused: after that the other goes on where it was."""
    from wmserve_client.stable_worldmodel import ServerPolicy

    infos = pool.infos
    with Client(server.grpc) as client:
        policy = ServerPolicy(client, "two_room", make=PlanningPolicy)
        pool.set_policy(policy)
        policy.get_action(infos)
        other = policy._policies[1].last_plan
        infos["step_idx"][:, 0] = 1, 1
        healthy = infos["pixels"][0].copy()
        infos["pixels"][0], infos["_needs_flush"] = 128, np.array([True, False])
        with pytest.raises(PlanRefusedError, match="observation"):
            policy.get_action(infos)
        infos["pixels"][0] = healthy
        np.testing.assert_array_equal(policy.get_action(infos)[1], other.actions[1])


def test_problems_are_what_the_protocols_say() -> None:
    """Starts are not goals, rooms differ where they must, and doors are held out."""
    for protocol in protocols.PROTOCOLS:
        problems = protocols.draw(protocol, 200)
        assert len(problems.starts) == 200
        assert (np.linalg.norm(problems.starts - problems.goals, axis=1) >= 16).all()
        assert set(problems.doors) <= set(protocol.doors)
        if protocol.different_rooms:
            assert ((problems.starts[:, 0] < 112) != (problems.goals[:, 0] < 112)).all()
    lewm = protocols.draw(protocols.PROTOCOLS[0], 200)
    assert np.linalg.norm(lewm.starts - lewm.goals, axis=1).max() <= 25 * 5 * np.sqrt(2)


def test_a_baseline_that_acts_as_the_served_policy_is_found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the baselines does, and the served policy under another name fails the evaluation."""
    two_room.check_baselines(server.grpc)
    honest = two_room.players

    def disguised(client: Client) -> list[two_room.Player]:
        served, *others = honest(client)
        return [served, *others, two_room.Player("latent distance", honest(client)[0].policy)]

    monkeypatch.setattr(two_room, "players", disguised)
    with pytest.raises(SystemExit, match="'latent distance' acts as the served policy does"):
        two_room.check_baselines(server.grpc)


def test_intervals_are_wilsons() -> None:
    """Known values of the Wilson interval at 95 %."""
    low, high = wilson(200, 200)
    assert (round(low, 4), round(high, 4)) == (0.9812, 1.0)
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
