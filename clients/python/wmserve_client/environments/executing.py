"""Has plans made and executed, several at once."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice

from wmserve_client.client import Client
from wmserve_client.environments import EnvironmentFault, acting
from wmserve_client.environments.acting import Executed
from wmserve_client.environments.opening import Opening
from wmserve_client.environments.problems import Problems
from wmserve_client.environments.stages import Stages
from wmserve_client.results import World


def executed(
    client: Client,
    world: World,
    chosen: Opening,
    problems: Problems,
    numbers: list[int],
    at_once: int,
    horizon: int | None = None,
) -> Iterator[tuple[int, Executed]]:
    """Execute the plans of problems, as they come; each thread has an environment of its own.

    Raises what `acting.execute` raises, and EnvironmentFault where the world is exported again meanwhile.
    """
    left = iter(numbers)
    with Stages(chosen, at_once) as stages:

        def one(number: int) -> tuple[int, Executed]:
            done = acting.execute(client, world, stages.own(), problems(number), horizon)
            if done.plan.digests["checkpoint"] != world.digests.checkpoint:
                raise EnvironmentFault(f"world {world.name} was exported again meanwhile; run the command again")
            return number, done

        # A few more than are at work: what is done waits for nobody, and frames do not pile up.
        waiting: set[Future[tuple[int, Executed]]] = {stages.submit(one, each) for each in islice(left, 2 * at_once)}
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
            waiting |= {stages.submit(one, number) for number in islice(left, len(finished))}
