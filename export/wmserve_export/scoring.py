"""Costs of candidates, as a search of a server gets them.

    float32   the plan engine's
    mixed     all from the coarse engine, the best again from the plan engine; the others come behind those

In mixed precision a server scores still more exactly where it is in doubt
(``wmserve_server/planner/rescoring.py``, which cannot be imported here), so its choice is at least as good as this one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor
from wmserve.world import GoalMetric, Precision

from wmserve_export.engines import Engine
from wmserve_export.runtime import Floats, Runner

Scorer = Callable[[Mapping[str, Tensor]], Floats]
"""Costs `[S]` of the inputs of a plan engine, whose batch axis is 1."""

CANDIDATES, ELITES = 300, 30
RESCORED = 40
"""Candidates that a server scores again of `CANDIDATES` with `ELITES`; a test holds it to the server's rule."""


def share(count: int, candidates: int) -> int:
    """As large a part of so many candidates as `count` is of `CANDIDATES`, rounded up."""
    return -(-count * candidates // CANDIDATES)


def scorers(files: Mapping[Engine, Path], engine: Engine, metric: GoalMetric) -> dict[Precision, Scorer]:
    """The ways in which these files can score: always float32, mixed where the plan engine has a coarse one."""
    exact = scorer(files[engine], metric)
    coarse = files.get(engine.beside("coarse"))
    return {"float32": exact} if coarse is None else {"float32": exact, "mixed": mixed(scorer(coarse, metric), exact)}


def scorer(file: Path, metric: GoalMetric) -> Scorer:
    """Costs of one engine."""
    run = Runner(file)
    return lambda inputs: total(metric, run(inputs)["goal_distance"])


def mixed(coarse: Scorer, exact: Scorer) -> Scorer:
    """Costs of two."""

    def costs(inputs: Mapping[str, Tensor]) -> Floats:
        found = coarse(inputs)
        order, again = np.argsort(found, kind="stable"), share(RESCORED, len(found))
        best, rest = order[:again], order[again:]
        found[best] = exact({**inputs, "actions": inputs["actions"][:, best]})
        found[rest] = np.maximum(found[rest], np.nextafter(found[best].max(), np.float32(np.inf)))
        return found

    return costs


def total(metric: GoalMetric, goal_distance: Floats) -> Floats:
    """Costs `[S]` from distances `[1, S, H]`."""
    distance = goal_distance[0]
    costs = np.float32(metric.final_weight) * distance[:, -1]
    return costs + np.float32(metric.path_weight) * distance.mean(axis=-1) if metric.path_weight else costs
