"""Draws the README's picture: a plan made by the server, and what came of it in the environment.

    python -m loadtest.evaluation.picture [--server HOST:PORT] [--problem 3] [--out docs/plan.png]

Four frames: the start; where the model expects its first plan to lead (a dot a model step, as wide as the readouts' own
error and the members' disagreement say); what then happened, planning again every few steps; the goal.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from numpy.typing import NDArray
from stable_worldmodel.envs.two_room import TwoRoomEnv
from wmserve_client import Plan, PlanningPolicy
from wmserve_client.stable_worldmodel import holding_still

from loadtest.evaluation import protocols
from loadtest.evaluation.two_room import WORLD, connected

PREDICTED, EXECUTED = "#1f6feb", "#2da44e"
PROTOCOL = protocols.PROTOCOLS[-1]


def carry_out(
    policy: PlanningPolicy, env: TwoRoomEnv, goal: NDArray[np.uint8], budget: int
) -> tuple[Plan, NDArray[np.float32], bool]:
    """Act until the goal or the budget is reached: the first plan, positions `[n, 2]`, whether it was reached."""
    policy.reset(goal)
    positions = [env.agent_position.numpy().copy()]
    first: Plan | None = None
    for _ in range(budget):
        action = policy.act(env.render())
        first = first or policy.last_plan
        _, _, reached, _, info = env.step(action)
        positions.append(np.array(info["state"]))
        if reached:
            break
    assert first is not None
    return first, np.stack(positions), bool(reached)


def panel(axes: Axes, frame: NDArray[np.uint8], title: str) -> None:
    """One frame with its title and no ticks."""
    axes.imshow(frame)
    axes.set_title(title, fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])


def draw_expected(axes: Axes, start: NDArray[np.float32], plan: Plan, errors: list[float]) -> None:
    """The expected path, in pixels: a dot and a circle for each model step."""
    path = np.vstack([start, plan.readouts[:, :2]])
    axes.plot(*path.T, color=PREDICTED, linewidth=1.5)
    spread = plan.disagreement / max(float(plan.disagreement[0]), 1e-6)
    for point, factor in zip(path[1:], spread, strict=True):
        axes.add_patch(Circle(tuple(point), max(errors) * float(factor), color=PREDICTED, alpha=0.18, linewidth=0))
        axes.plot(*point, "o", color=PREDICTED, markersize=4)


def main() -> None:
    """Play one problem of the doors-hard protocol and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="host:port of a gRPC endpoint; left out, a server is started")
    parser.add_argument("--problem", type=int, default=0, help="which problem of the protocol to play")
    parser.add_argument("--out", type=Path, default=Path("docs/plan.png"))
    options = parser.parse_args()
    problems = protocols.draw(PROTOCOL, options.problem + 1)
    start, goal = problems.starts[-1], problems.goals[-1]
    env = TwoRoomEnv()
    protocols.set_door(env, int(problems.doors[-1]))
    env.reset(options={"state": goal, "target_state": goal})
    goal_frame = env.render()
    env.reset(options={"state": start, "target_state": goal})
    start_frame = env.render()
    with connected(options.server) as client:
        errors = [readout.error for readout in client.world(WORLD).readouts[:2]]
        plan, path, reached = carry_out(holding_still(client, WORLD), env, goal_frame, PROTOCOL.budget)
    mpl.use("Agg")
    figure, panels = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
    panel(panels[0], start_frame, "start")
    panel(panels[1], start_frame, f"expected: first plan, {len(plan.actions)} steps")
    draw_expected(panels[1], start, plan, errors)
    panel(panels[2], env.render(), f"happened: {len(path) - 1} steps{', goal reached' if reached else ''}")
    panels[2].plot(*path.T, color=EXECUTED, linewidth=1.5)
    panel(panels[3], goal_frame, "goal")
    figure.savefig(options.out, dpi=100)
    print(f"{options.out}: {len(path) - 1} steps, goal {'reached' if reached else 'not reached'}")


if __name__ == "__main__":
    main()
