"""What `wmserve execute` and `wmserve evaluate` do alike: find a server, open the environment, fail in one line."""

import argparse
from collections.abc import Callable

from wmserve.exits import failed

from wmserve_client.client import Client
from wmserve_client.environments import EnvironmentFault
from wmserve_client.environments.opening import Opening
from wmserve_client.environments.options import opening
from wmserve_client.environments.problems import Offsets
from wmserve_client.environments.recorded import Files
from wmserve_client.environments.serving import connected
from wmserve_client.errors import WmserveError
from wmserve_client.results import World

REFUSED, WRONG, INTERRUPTED = 1, 2, 130


def done(
    verb: str, work: Callable[[Client, argparse.Namespace], None], options: argparse.Namespace, resumes: bool = False
) -> int:
    """Do the work of a command with a client of the server that its options name.

    Args:
        verb: What cannot be done where the work fails, in the line that says why.
        work: Gets the client and the options.
        options: Those of `options.add_common` among them.
        resumes: Whether the same command goes on where it was interrupted.

    Returns:
        The exit status: 0 done, 1 the server said no or nobody answered, 2 it cannot be done, 130 interrupted.
    """
    try:
        with connected(options.server, options.repository, options.world, options.calibration) as client:
            work(client, options)
    except WmserveError as error:
        return failed(f"cannot {verb}: {error}", REFUSED)
    except (ValueError, OSError) as error:
        return failed(f"cannot {verb}: {error}", WRONG)
    except KeyboardInterrupt:
        return failed(f"interrupted{'; the same command goes on where it stopped' * resumes}", INTERRUPTED)
    return 0


def opened(options: argparse.Namespace, world: World) -> tuple[Files | None, Opening]:
    """The trajectories that are named, if any are, and how to open the environment, with frames as in them."""
    files = None if options.trajectories is None else Files(options.trajectories, options.seed, world)
    return files, opening(options, None if files is None else files.first.observations.shape[1:3])


def plans_to_goals(world: World, without_goals: str) -> None:
    """EnvironmentFault for a world that does not plan, or plans without goals: then with what there is to do."""
    if "plan" not in world.verbs or not world.action.axes:
        raise EnvironmentFault(f"world {world.name} does not plan; it answers {', '.join(world.verbs)}")
    if not world.goal_metric.needs_goal:
        raise EnvironmentFault(f"world {world.name} plans without goals; {without_goals}")


def offsets_of(steps: int | None, world: World) -> Offsets:
    """How far ahead goals are, model steps; EnvironmentFault for environment steps between two of them."""
    block = world.action.action_block
    if steps is not None and steps % block:
        raise EnvironmentFault(f"--goal-offset {steps} must be a multiple of the world's action_block, {block}")
    return Offsets(None if steps is None else steps // block, 2 * world.planner.horizon)
