"""Success of a search: the server's, or the peer's solver with wmserve's cost, on the same problems of Two-Room."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_worldmodel.policy import PlanConfig, WorldModelPolicy
from stable_worldmodel.solver import CEMSolver
from wmserve_client import Client, PlannerOptions, PlanningPolicy
from wmserve_client.stable_worldmodel import ServerPolicy

from loadtest.evaluation.two_room import WORLD
from loadtest.planning.peer import BLOCK, HORIZON, TwoRoomCost


def served(client: Client, options: PlannerOptions | None = None) -> ServerPolicy:
    """The server as a policy; without options with the world's own planner."""

    def make(own: Client, world: str) -> PlanningPolicy:
        return PlanningPolicy(own, world, planner=options, safe_action=(0, 0))

    return ServerPolicy(client, WORLD, make=make)


class QuietSolver(CEMSolver):  # type: ignore[misc]
    """The peer's solver; it prints at each solve, which nobody wants to read two thousand times."""

    def solve(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Solve, silently."""
        with contextlib.redirect_stdout(io.StringIO()):
            answer: dict[str, Any] = super().solve(*args, **kwargs)
        return answer


def peers(checkpoint: Path, budget: Mapping[str, Any]) -> WorldModelPolicy:
    """The peer's policy with its solver, planning again after each model step from the rest of its last plan."""
    solver = QuietSolver(
        TwoRoomCost(checkpoint),
        num_samples=budget["candidate_count"],
        n_steps=budget["iterations"],
        topk=budget["elite_count"],
    )
    return WorldModelPolicy(solver, PlanConfig(HORIZON, 1, action_block=BLOCK))
