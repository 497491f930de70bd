"""A search that is under way, as bytes: what travels to the engines and comes back, some iterations further.

    task  -> [4 bytes length][JSON: scalars, names and shapes of arrays][arrays, float32 little-endian, in that order]
    state -> the same

Numbers survive to the bit. Both are padded to a multiple of PADDING bytes, so that most tasks are equally long and can
share a batch.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .algorithms import Distribution
from .constraints import Box
from .goal import GoalCost, ReadoutGoal
from .search import Best, Problem, Settings, State, StopReason
from .shaping import Limits, Shape

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
PADDING = 4096
HEAD = struct.Struct("<I")
DETAIL = "detail_"
DISTRIBUTION = ("mean", "std", "kept")
BOX = ("low", "high", "errors", "errors_expected")


@dataclass(frozen=True)
class Task:
    """A search to take further: for ``slice_s`` seconds, but no longer than ``left_s``, its deadline."""

    problem: Problem
    goal: GoalCost
    state: State
    slice_s: float
    left_s: float | None
    turns: int = 0
    """Slices that this search has had; it stays behind those that have had fewer."""


@dataclass(frozen=True)
class Progress:
    """How far it came, and the seconds that the cost engine and the search itself took."""

    state: State
    cost_s: float
    search_s: float
    ended_s: tuple[float, ...] = ()
    """When each of these iterations ended, seconds after the first began."""


def pack_task(task: Task) -> Bytes:
    """Write a task."""
    problem, goal, limits = task.problem, task.goal, task.problem.limits
    arrays = {"low": limits.low, "high": limits.high, "max_rate": limits.max_rate, "previous": limits.previous}
    scalars: dict[str, Any] = {
        "shape": asdict(problem.shape),
        "settings": asdict(problem.settings),
        "seed": problem.seed,
        "weights": (goal.final_weight, goal.path_weight, goal.penalty),
        "slice_s": task.slice_s,
        "left_s": task.left_s,
    }
    scalars["constraints"] = [(box.columns, box.keep_out, box.risk) for box in goal.constraints]
    for number, box in enumerate(goal.constraints):
        arrays |= {f"{name}_{number}": getattr(box, name) for name in BOX}
    if goal.readouts is not None:
        scalars["columns"] = goal.readouts.columns
        arrays |= {"goal_values": goal.readouts.values, "goal_scales": goal.readouts.scales}
    return pack(scalars | state_scalars(task.state), arrays | state_arrays(task.state))


def unpack_task(data: Bytes) -> Task:
    """Read a task."""
    scalars, arrays = unpack(data)
    readouts = None
    if "columns" in scalars:
        readouts = ReadoutGoal(tuple(scalars["columns"]), arrays["goal_values"], arrays["goal_scales"])
    limits = Limits(arrays["low"], arrays["high"], arrays.get("max_rate"), arrays.get("previous"))
    problem = Problem(Shape(**scalars["shape"]), limits, Settings(**scalars["settings"]), scalars["seed"])
    final_weight, path_weight, penalty = scalars["weights"]
    boxes = tuple(
        Box(tuple(columns), keep_out=keep_out, risk=risk, **{name: arrays.get(f"{name}_{number}") for name in BOX})  # type: ignore[arg-type]
        for number, (columns, keep_out, risk) in enumerate(scalars["constraints"])
    )
    goal = GoalCost(final_weight, path_weight, readouts, penalty, boxes)
    return Task(problem, goal, read_state(scalars, arrays), scalars["slice_s"], scalars["left_s"])


def pack_progress(progress: Progress) -> Bytes:
    """Write how far a search came."""
    spent = {"cost_s": progress.cost_s, "search_s": progress.search_s, "ended_s": progress.ended_s}
    return pack(spent | state_scalars(progress.state), state_arrays(progress.state))


def unpack_progress(data: Bytes) -> Progress:
    """Read how far a search came."""
    scalars, arrays = unpack(data)
    return Progress(
        read_state(scalars, arrays), scalars["cost_s"], scalars["search_s"], tuple(scalars.get("ended_s", ()))
    )


def state_scalars(state: State) -> dict[str, Any]:
    """What of a state is not an array."""
    return {
        "cost_per_iteration": state.cost_per_iteration,
        "stop_reason": None if state.stop_reason is None else state.stop_reason.value,
    }


def state_arrays(state: State) -> dict[str, Floats | None]:
    """What of a state is an array."""
    arrays: dict[str, Floats | None] = {name: getattr(state.around, name) for name in DISTRIBUTION}
    if state.best is not None:
        arrays["best_actions"] = state.best.actions
        arrays |= {DETAIL + name: array for name, array in state.best.details.items()}
    return arrays


def read_state(scalars: Mapping[str, Any], arrays: Mapping[str, Floats]) -> State:
    """Put a state together again."""
    costs, best, reason = tuple(scalars["cost_per_iteration"]), None, scalars["stop_reason"]
    if "best_actions" in arrays:
        details = {name.removeprefix(DETAIL): array for name, array in arrays.items() if name.startswith(DETAIL)}
        best = Best(arrays["best_actions"], costs[-1], details)
    around = Distribution(*(arrays[name] for name in DISTRIBUTION))
    return State(around, best, costs, None if reason is None else StopReason(reason))


def pack(scalars: Mapping[str, Any], arrays: Mapping[str, Floats | None]) -> Bytes:
    """Write scalars and those arrays that there are."""
    present = {name: np.ascontiguousarray(array, "<f4") for name, array in arrays.items() if array is not None}
    shapes = {name: array.shape for name, array in present.items()}
    head = json.dumps({"scalars": scalars, "shapes": shapes}).encode()
    data = bytearray().join([HEAD.pack(len(head)), head, *(array.tobytes() for array in present.values())])
    data += bytes(-len(data) % PADDING)
    return np.frombuffer(data, np.uint8)  # of a bytearray: Triton takes no read-only arrays


def unpack(data: Bytes) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Read what :func:`pack` wrote; the arrays are views of a copy."""
    raw = data.tobytes()
    (length,) = HEAD.unpack_from(raw)
    at = HEAD.size + length
    head = json.loads(raw[HEAD.size : at])
    arrays: dict[str, Floats] = {}
    for name, shape in head["shapes"].items():
        count = prod(shape)
        arrays[name] = np.frombuffer(raw, "<f4", count, at).reshape(shape)
        at += 4 * count
    return head["scalars"], arrays
