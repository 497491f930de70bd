"""Brings a problem about in an environment, and carries a plan out to its end."""

from dataclasses import dataclass, field

import numpy as np
from wmserve.trajectories import Trajectory

from wmserve_client.client import Client
from wmserve_client.environments import EnvironmentFault
from wmserve_client.environments.problems import Problem, shown_goal
from wmserve_client.environments.serving import patiently
from wmserve_client.environments.simulators import Floats, Frame
from wmserve_client.environments.stage import Outcome, Stage
from wmserve_client.requests import Context, Guard, PlannerOptions
from wmserve_client.results import Plan, World

EVERY_PLAN = Guard(return_refused=True)


@dataclass
class Path:
    """What was observed and done so far, a frame at each model step."""

    frames: list[Frame] = field(default_factory=list)
    actions: list[Floats] = field(default_factory=list)
    readouts: list[Floats] = field(default_factory=list)
    reached: bool = False
    """Whether the goal was reached at any step."""
    ended: bool = False
    """Whether the environment called its episode ended at any step."""

    def look(self, stage: Stage) -> None:
        """Keep what is seen now."""
        self.frames.append(stage.render())
        said = stage.readouts()
        if said is not None:
            self.readouts.append(said)

    def act(self, stage: Stage, actions: Floats, block: int) -> None:
        """Do actions `[n x block, A]`, and look after each model step."""
        for number, action in enumerate(actions, 1):
            outcome: Outcome = stage.step(action)
            self.actions.append(action)
            self.reached, self.ended = self.reached or outcome.reached, self.ended or outcome.ended
            if number % block == 0:
                self.look(stage)


@dataclass(frozen=True)
class Executed:
    """A plan and what came of it."""

    plan: Plan
    trajectory: Trajectory
    reached: bool
    ended: bool
    frame_difference: float | None
    """Mean difference of the first frame from the recorded one, grey levels; None where none was recorded."""


def begin(stage: Stage, problem: Problem, block: int) -> Path:
    """Go to the problem's start, and through its context."""
    stage.begin(problem.seed, problem.start, problem.goal)
    path = Path()
    path.look(stage)
    path.act(stage, problem.lead, block)
    path.reached = path.ended = False
    return path


def goal_frame(stage: Stage, problem: Problem, block: int) -> Frame:
    """What the goal looks like; the stage is left anywhere."""
    if problem.picture is not None:
        return problem.picture
    if problem.goal is not None:
        stage.begin(problem.seed, problem.goal, problem.goal)
        return stage.render()
    if problem.onward is None:
        stage.begin(problem.seed)
        shown = shown_goal(stage.info)
        if shown is None:
            raise EnvironmentFault(f"environment {stage.name} shows no goal at a reset: name --goal-image FILE")
        return shown
    path = begin(stage, problem, block)
    start = path.frames[0]
    path.act(stage, problem.onward, block)
    stage.begin(problem.seed)
    if not np.array_equal(start, stage.render()):
        raise EnvironmentFault(
            f"environment {stage.name}: reset(seed={problem.seed}) shows another frame each time, so no goal can be "
            "reached from the same start; give --set-state MODULE:FUNCTION and trajectories with states"
        )
    return path.frames[-1]


def context_of(path: Path, world: World) -> Frame | Context:
    """The last frames as a server takes them."""
    count, block = world.context_length, world.action.action_block
    if count == 1:
        return path.frames[-1]
    return Context(np.stack(path.frames[-count:]), np.stack(path.actions[-(count - 1) * block :]))


def execute(
    client: Client, world: World, stage: Stage, problem: Problem, horizon: int | None = None, timeout_s: float = 600.0
) -> Executed:
    """Plan, and do what the plan says to its end, whether it is refused or not.

    Args:
        client: Of a server of the world.
        world: Its contract.
        stage: Where to execute it.
        problem: Start and goal.
        horizon: Model steps; None takes the world's.
        timeout_s: Longest wait for the plan, seconds.

    Raises:
        EnvironmentFault: The environment cannot do what it is asked.
        WmserveError: The server says no.
    """
    block = world.action.action_block
    goal = goal_frame(stage, problem, block)
    path = begin(stage, problem, block)
    seen = path.frames[0]
    options = PlannerOptions(seed=problem.seed, horizon=horizon)
    context = context_of(path, world)
    plan = patiently(
        lambda: client.plan(world.name, context, goal, planner=options, guard=EVERY_PLAN, timeout_s=timeout_s)
    )
    assert plan.actions is not None, "refused plans are asked for, too"
    path.act(stage, plan.actions, block)
    difference = None
    if problem.seen is not None and problem.seen.shape == seen.shape:
        difference = float(np.abs(problem.seen.astype(np.int16) - seen).mean())
    trajectory = Trajectory(
        observations=np.stack(path.frames),
        actions=np.stack(path.actions).astype(np.float32),
        readouts=np.stack(path.readouts).astype(np.float32) if path.readouts else None,
        goal=goal,
    )
    return Executed(plan, trajectory, path.reached, path.ended, difference)
