"""stable-worldmodel's own evaluation drives the server as a policy, in the real environment."""

import numpy as np
import pytest
from wmserve_client import Client

from loadtest.evaluation import protocols
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


def test_intervals_are_wilsons() -> None:
    """Known values of the Wilson interval at 95 %."""
    low, high = wilson(200, 200)
    assert (round(low, 4), round(high, 4)) == (0.9812, 1.0)
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
