"""Scoring in two precisions: the plan is as good as the exact cost's, however coarse the other is."""

import numpy as np
import pytest
from wmserve_server.planner import Cost, coarse_to_fine, search
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


def elites(costs: Floats) -> set[int]:
    """The 30 that cost least."""
    return set(np.argsort(costs, kind="stable")[:30].tolist())


ERRORS = [(0.0, 0.0), (0.05, 0.0), (0.5, 0.0), (50.0, 0.0), (0.05, -1e3), (0.05, 1e3)]


@pytest.mark.parametrize(("error", "bias"), ERRORS)
def test_elites_are_those_of_the_exact_cost(error: float, bias: float) -> None:
    """For errors that are small beside the costs' differences and for those that drown them: 28 of 30, mostly all."""
    populations = np.random.default_rng(0).uniform(-1, 1, (40, 300, 20, 2)).astype(np.float32)
    cost = coarse_to_fine(coarsely(error, bias), quadratic, 30)
    shared = [len(elites(cost(one)[0]) & elites(quadratic(one)[0])) for one in populations]
    assert np.percentile(shared, 5) >= 28
    assert np.mean(shared) > 29


@pytest.mark.parametrize("algorithm", ["cem", "icem"])
@pytest.mark.parametrize(("error", "bias"), ERRORS)
def test_the_plan_is_as_good_as_that_of_the_exact_cost(algorithm: str, error: float, bias: float) -> None:
    """A search gets where it gets with exact costs, beside what it has gained on the way."""
    asked = problem(algorithm, **BUDGET)
    wanted, found = search(quadratic, asked), search(coarse_to_fine(coarsely(error, bias), quadratic, 30), asked)
    gained = wanted.cost_per_iteration[0] - best(wanted).cost
    assert abs(best(found).cost - best(wanted).cost) < 0.02 * gained


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_best_was_scored_exactly(algorithm: str) -> None:
    """Also where the coarse cost thinks better of all: the cost reported is that of the plan."""
    found = best(search(coarse_to_fine(coarsely(0.1, bias=-100.0), quadratic, 30), problem(algorithm, **BUDGET)))
    costs, details = quadratic(found.actions[None])
    assert found.cost == costs[0]
    np.testing.assert_array_equal(found.details["last"], details["last"][0])


@pytest.mark.parametrize(("error", "fewest", "most"), [(1e-3, 40, 48), (1.0, 60, 150), (1e3, 300, 300)])
def test_more_is_scored_exactly_only_in_doubt(error: float, fewest: int, most: int) -> None:
    """The best and a sample, more if it must be, all where nothing can be told coarsely; none twice."""
    exact = Counted(quadratic)
    candidates = np.random.default_rng(0).uniform(-1, 1, (300, 20, 2)).astype(np.float32)
    coarse_to_fine(coarsely(error), exact, 30)(candidates)
    assert fewest <= sum(exact.sizes) <= most


@pytest.mark.parametrize(("candidate_count", "elite_count", "expected"), [(300, 30, 40), (1000, 10, 134), (90, 21, 28)])
def test_a_third_more_than_elites_and_two_in_15_of_all_are_scored_again(
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
