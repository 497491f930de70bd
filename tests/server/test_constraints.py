"""Boxes that readouts keep out of, or within."""

from collections.abc import Iterator
from dataclasses import replace
from math import erf, sqrt

import httpx
import numpy as np
import pytest
from wmserve_client import Client, Constraint, Guard, InvalidRequest, Plan, PlannerOptions
from wmserve_server.planner.constraints import INFEASIBLE, Box, cost, cumulative

from loadtest.serving import Server
from tests.server.test_guard import frame
from tests.server.test_trust import WORLD


def box(keep_out: bool = True, risk: float = 0.1, error: float = 1e-3) -> Box:
    """The first readout from 2 to 4."""
    return Box((0,), np.float32([2]), np.float32([4]), keep_out, risk, np.float32([error]))


def paths(*members: list[float]) -> np.ndarray:
    """One candidate; each member's first readout at each step, and another that nobody asks for."""
    first = np.float32([members])[..., None]
    return np.concatenate([first, np.full_like(first, 99)], axis=-1)


def test_the_normal_distribution_is_one() -> None:
    """To 3e-4, where it is looked at."""
    at = np.linspace(-7, 7, 500)
    exact = [(1 + erf(one / sqrt(2))) / 2 for one in at]
    np.testing.assert_allclose(cumulative(at), exact, atol=3e-4)


@pytest.mark.parametrize(
    ("members", "inside"),
    [
        (([0, 1], [0, 1]), 0.0),
        (([0, 3], [0, 1]), 0.5),
        (([3, 0], [3, 3]), 1.0),
        (([0, 6], [0, 0]), 0.5),  # it jumps over the box: the line between goes through
    ],
)
def test_members_that_enter_count(members: tuple[list[float], ...], inside: float) -> None:
    """At any step, or on the way to the next."""
    np.testing.assert_allclose(box().broken(paths(*members)), [inside], atol=1e-3)


def test_a_readouts_error_blurs_the_box() -> None:
    """On its edge it is as likely in as out; an expected error that is larger than the readout's own counts."""
    on_edge = paths([2, 2])
    np.testing.assert_allclose(box(error=0.1).broken(on_edge), [0.5], atol=1e-3)
    near = paths([1.5, 1.5])
    assert box(error=0.1).broken(near)[0] < 1e-3
    wide = Box((0,), np.float32([2]), np.float32([4]), True, 0.1, np.float32([0.1]), np.full((5, 1), 2.0, np.float32))
    assert wide.broken(near, np.float32([0.25, 0.25]))[0] == pytest.approx(0.158, abs=0.01)


def test_to_keep_in_is_the_opposite() -> None:
    """Of keeping out, step by step."""
    outside = paths([3, 5])
    assert box(keep_out=False).broken(outside)[0] == pytest.approx(1, abs=1e-3)
    assert box(keep_out=False).broken(paths([3, 3.5]))[0] == pytest.approx(0, abs=1e-3)


def test_what_breaks_a_constraint_comes_after_all_that_do_not() -> None:
    """And what is likelier to break it comes last; within the risk it is free."""
    candidates = np.concatenate([paths([0, 0], [0, 0]), paths([3, 3], [0, 0]), paths([3, 3], [3, 3])])
    costs = cost((box(risk=0.1),), candidates)
    assert costs[0] == 0
    assert INFEASIBLE < costs[1] < costs[2]
    assert cost((box(risk=0.6),), candidates)[1] == 0


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    """A client of the reference world."""
    with Client(server.grpc) as connected:
        yield connected


IN_THE_WAY = Constraint("keep_out", {"agent_x": (45, 75), "agent_y": (95, 115)})


def ask(client: Client, *constraints: Constraint) -> Plan:
    """Straight up through the left room; whatever is found is returned."""
    return client.plan(
        WORLD,
        frame(60, 150),
        {"agent_x": 60.0, "agent_y": 60.0},
        constraints=constraints,
        planner=PlannerOptions(seed=0, candidate_count=128, iterations=5),
        guard=Guard(return_refused=True),
    )


def test_a_plan_goes_around_a_box(client: Client, server: Server) -> None:
    """With a constraint that lets nearly everything pass it goes through; both say how likely that is."""
    around = ask(client, IN_THE_WAY)
    assert around.status == "ok"
    assert around.constraint_probability[0] <= 0.1
    through = ask(client, replace(IN_THE_WAY, risk=0.999))
    assert through.constraint_probability[0] > 0.5
    assert not any(45 < x < 75 and 95 < y < 115 for x, y, _ in around.readouts)
    body = {
        "world": WORLD,
        "context": {"latents_id": around.latents_id},
        "goal": {"readouts": {"agent_x": 60, "agent_y": 60}},
        "planner": {"seed": 0, "candidate_count": 128, "iterations": 5},
        "constraints": [{"kind": "keep_out", "readouts": {"agent_x": [45, 75], "agent_y": [95, 115]}}],
    }
    answer = httpx.post(f"{server.http}/v1/plan", json=body).json()
    assert answer["constraint_probability"][0] <= 0.1


def test_a_plan_that_cannot_keep_to_it_is_refused(client: Client) -> None:
    """Here the agent stands in the box."""
    refused = ask(client, Constraint("keep_out", {"agent_x": (0, 224), "agent_y": (0, 224)}))
    assert refused.status == "refused"
    assert "constraint" in refused.reasons
    assert refused.constraint_probability[0] > 0.9


@pytest.mark.parametrize(
    "wrong", [Constraint("keep_out", {"colour": (0, 1)}), Constraint("keep_in", {"agent_x": (5, 1)})]
)
def test_a_box_that_is_none_is_an_error_that_names_the_field(client: Client, wrong: Constraint) -> None:
    """Unknown readouts, and bounds in the wrong order."""
    with pytest.raises(InvalidRequest, match=r"constraints\.0\.readouts"):
        ask(client, wrong)
