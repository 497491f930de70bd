"""Scoring in two precisions: the plan is the exact cost's, however coarse the other is."""

import numpy as np
import pytest
from wmserve_server.planner import Best, Cost, coarse_to_fine, search
from wmserve_server.planner.rescoring import rescored
from wmserve_server.planner.search import Details
from wmserve_server.planner.shaping import Floats

from tests.server.test_planner import ALGORITHMS, best, problem, quadratic

BUDGET = {"candidate_count": 300, "elite_count": 30, "iterations": 12}


class Counted:
    """A cost function that remembers what it was asked."""

    def __init__(self, cost: Cost) -> None:
        self.cost = cost
        self.sizes: list[int] = []

    def __call__(self, candidates: Floats) -> tuple[Floats, Details]:
        self.sizes.append(len(candidates))
        return self.cost(candidates)


def coarsely(error: float, bias: float = 0.0) -> Cost:
    """The quadratic cost with an error of its own for each candidate; what it says of them is wrong."""

    def cost(candidates: Floats) -> tuple[Floats, Details]:
        costs, details = quadratic(candidates)
        noise = np.random.default_rng(len(candidates)).uniform(-1, 1, len(candidates)).astype(np.float32)
        return costs + np.float32(error) * noise + np.float32(bias), {name: -array for name, array in details.items()}

    return cost


def same(one: Best, other: Best) -> bool:
    """Equal to the bit."""
    rows = (one.details["last"].tobytes(), other.details["last"].tobytes())
    return one.actions.tobytes() == other.actions.tobytes() and one.cost == other.cost and rows[0] == rows[1]


@pytest.mark.parametrize("algorithm", ["cem", "icem"])
@pytest.mark.parametrize(
    ("error", "bias"), [(0.0, 0.0), (0.05, 0.0), (0.5, 0.0), (50.0, 0.0), (0.05, -1e3), (0.05, 1e3)]
)
def test_the_plan_is_that_of_the_exact_cost(algorithm: str, error: float, bias: float) -> None:
    """For errors that are small beside the costs' differences, and for those that drown them, as all do in the end."""
    asked = problem(algorithm, **BUDGET)
    wanted, found = search(quadratic, asked), search(coarse_to_fine(coarsely(error, bias), quadratic, 30), asked)
    assert same(best(found), best(wanted))
    np.testing.assert_array_equal(found.around.mean, wanted.around.mean)
    assert found.cost_per_iteration == wanted.cost_per_iteration


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_best_was_scored_exactly(algorithm: str) -> None:
    """Also where the coarse cost thinks better of all: the cost reported is that of the plan."""
    found = best(search(coarse_to_fine(coarsely(0.1, bias=-100.0), quadratic, 30), problem(algorithm, **BUDGET)))
    costs, details = quadratic(found.actions[None])
    assert found.cost == costs[0]
    np.testing.assert_array_equal(found.details["last"], details["last"][0])


@pytest.mark.parametrize(("error", "batches"), [(1e-3, [15, 60]), (1.0, [15, 60, 60]), (1e3, [15, 285])])
def test_more_is_scored_exactly_only_in_doubt(error: float, batches: list[int]) -> None:
    """Beside a sample: a fifth of the population, more if it must be, all where it surely must."""
    exact = Counted(quadratic)
    candidates = np.random.default_rng(0).uniform(-1, 1, (300, 20, 2)).astype(np.float32)
    coarse_to_fine(coarsely(error), exact, 30)(candidates)
    assert exact.sizes == batches


@pytest.mark.parametrize(("candidate_count", "elite_count", "expected"), [(300, 30, 60), (1000, 10, 200), (90, 20, 40)])
def test_twice_the_elites_and_a_fifth_of_all_are_scored_again(
    candidate_count: int, elite_count: int, expected: int
) -> None:
    """Whatever a caller asks for; never fewer than its elites."""
    assert rescored(candidate_count, elite_count) == expected


@pytest.mark.parametrize(("candidate_count", "elite_count"), [(1, 1), (20, 1), (64, 20), (300, 300)])
def test_where_elites_are_many_nothing_is_scored_coarsely(candidate_count: int, elite_count: int) -> None:
    """Both engines together would take longer than the exact one, or there is nothing to leave out."""
    coarse, exact = Counted(quadratic), Counted(quadratic)
    coarse_to_fine(coarse, exact, elite_count)(np.zeros((candidate_count, 20, 2), np.float32))
    assert (coarse.sizes, exact.sizes) == ([], [candidate_count])
