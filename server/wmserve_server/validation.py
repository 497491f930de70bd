"""Holds requests against a world's contract, before any engine sees them.

Every check names the field and the bound. What passes is what the engines take: C-order float32 (frames uint8),
finite, of the right rank, within bounds.
"""

from collections.abc import Sequence

import numpy as np
from wmserve.world import Axis, World

from wmserve_server.backend import Floats, Frames, Observed
from wmserve_server.errors import InvalidArgument, PayloadTooLarge, Unfinite
from wmserve_server.images import check_size, decode
from wmserve_server.json_arrays import AnyArray
from wmserve_server.messages import ActionLimits, Constraint, Observations
from wmserve_server.planner import Limits
from wmserve_server.planner.constraints import Box
from wmserve_server.planner.goal import ReadoutGoal

NORMAL_LEVEL, NORMAL_RADIUS = 0.9, 1.645
"""Nine in ten of a normal distribution are within so many standard deviations."""
BOUND_SLACK = 1e-5
"""Part of an axis' range by which float32 rounding may overstep a bound."""


def floats(array: AnyArray, shape: tuple[int | None, ...], field: str) -> Floats:
    """Return a finite float32 array of `shape`, in which None stands for any size of at least one."""
    expected = "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
    sizes_fit = all(want in (None, got) and got > 0 for want, got in zip(shape, array.shape, strict=False))
    if array.ndim != len(shape) or not sizes_fit:
        raise InvalidArgument(f"shape is {list(array.shape)}, expected {expected}", field=field)
    with np.errstate(over="ignore"):  # a double that float32 cannot hold becomes infinite, and is refused as such
        result = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(result).all():
        raise Unfinite("holds NaN, infinity or a number beyond float32", field=field)
    return result


def observed(observations: Observations, world: World, field: str, of_goal: bool = False) -> Observed:
    """Return what was observed, as the world takes it. Decoding a file takes milliseconds."""
    seen = frames(observations, world, field)
    felt = proprioception(observations.proprioception, world, field, None if seen is None else len(seen), of_goal)
    return Observed(seen, felt)


def frames(observations: Observations, world: World, field: str) -> Frames | None:
    """Return frames `[T, h, w, 3]` uint8, T at most the world's context length; None where it looks at none."""
    files, array, spec = observations.images, observations.array, world.observation
    if not spec.frames:
        if files is not None or array is not None:
            raise InvalidArgument(f"world {world.name} looks at no frames, only at proprioception", field=field)
        return None
    if files is not None:
        fits_count(len(files), world, field)
        return decode(files, spec, field)
    if array is None:
        raise InvalidArgument(f"world {world.name} needs frames", field=field)
    return array_frames(array, world, field)


def fits_count(count: int, world: World, field: str) -> None:
    """Refuse more frames than a world takes, or others than a whole clip."""
    if world.observation.tubelet_size > 1 and count != world.context_length:
        clips = f"clips of {world.context_length}"
        raise InvalidArgument(f"{count} frames, world {world.name} takes {clips}", field=field)
    if count > world.context_length:
        raise InvalidArgument(f"{count} frames, world {world.name} takes at most {world.context_length}", field=field)


def proprioception(given: AnyArray | None, world: World, field: str, count: int | None, of_goal: bool) -> Floats | None:
    """Return proprioception `[T, Q]`, T that of the frames where there are any; None where the world takes none.

    A goal may go without where the goal metric does: it is then as it is on the whole.
    """
    axes, field = world.observation.proprioception, f"{field}.proprioception"
    if not axes:
        if given is not None:
            raise InvalidArgument(f"world {world.name} takes none", field=field)
        return None
    if given is None:
        if of_goal and world.goal_metric is not None and not world.goal_metric.needs_proprioception:
            return np.array([[axis.mean for axis in axes]] * (count or 1), np.float32)
        names = ", ".join(f"{axis.name} ({axis.unit})" for axis in axes)
        raise InvalidArgument(f"world {world.name} needs it with each frame: {names}", field=field)
    rows = floats(given[None] if given.ndim == 1 else given, (count, len(axes)), field)
    fits_count(len(rows), world, field)
    return within_axes(rows, axes, field)


def hidden(array: AnyArray | None, world: World, field: str = "hidden") -> Frames:
    """Return what is hidden of a clip `[L, P]` uint8, 1 where it is."""
    if array is None:
        raise InvalidArgument(f"world {world.name} knows no actions; say what part of the clip is hidden", field=field)
    shape = (world.latent_count, *world.latent_shape[:-1])
    if array.shape != shape:
        raise InvalidArgument(f"shape is {list(array.shape)}, expected {list(shape)}", field=field)
    if array.dtype.kind not in "iu" or not set(np.unique(array).tolist()) <= {0, 1}:
        raise InvalidArgument("must be integers, 0 or 1", field=field)
    if not array.any():
        raise InvalidArgument("hides nothing", field=field)
    return np.ascontiguousarray(array, np.uint8).reshape(world.latent_count, -1)


def array_frames(array: AnyArray, world: World, field: str) -> Frames:
    """Return frames `[T, h, w, 3]` uint8 of an array; integers of other widths are taken if they fit."""
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[-1] != 3 or array.shape[0] < 1:
        raise InvalidArgument(f"shape is {list(array.shape)}, expected [T, h, w, 3] or [h, w, 3]", field=field)
    fits_count(len(array), world, field)
    check_size(array.shape[1], array.shape[2], world.observation, field)
    if array.dtype.kind not in "iu":
        raise InvalidArgument(f"dtype is {array.dtype.name}, expected uint8", field=field)
    if array.dtype != np.uint8 and not (int(array.min()) >= 0 and int(array.max()) <= 255):
        raise InvalidArgument("pixels must be 0 to 255", field=field)
    return np.ascontiguousarray(array, dtype=np.uint8)


def latents(array: AnyArray, world: World, field: str) -> Floats:
    """Return latents `[L, D]` of latents `[L, *latent_shape]`, L at most those of the world's context."""
    array = array[None] if array.ndim == len(world.latent_shape) else array
    if array.ndim and len(array) > world.latent_count:
        raise InvalidArgument(f"{len(array)} frames, at most {world.latent_count} are allowed", field=field)
    return floats(array, (None, *world.latent_shape), field).reshape(len(array), -1)


def action_history(array: AnyArray | None, frame_count: int, world: World, context: str = "context") -> Floats | None:
    """Return the actions between `T` context frames, `[(T-1) * action_block, A]`; None where T is 1.

    Engines are unrolled from exactly the world's context length.
    """
    if frame_count != world.context_length:
        raise InvalidArgument(
            f"{frame_count} frames, world {world.name} starts from {world.context_length}", field=context
        )
    field, needed = f"{context}.action_history", (frame_count - 1) * world.action.action_block
    if needed == 0:
        if array is not None and array.size:
            raise InvalidArgument("must be left out where the context is one frame", field=field)
        return None
    if array is None:
        raise InvalidArgument(f"{needed} actions are needed between {frame_count} frames", field=field)
    return within_bounds(floats(array, (needed, len(world.action.axes)), field), world, field)


def candidates(array: AnyArray, world: World, field: str = "actions") -> Floats:
    """Return actions `[S, N, A]` within the world's bounds; N a multiple of the action block, H and S within limits."""
    block = world.action.action_block
    array = array[None] if array.ndim == 2 else array
    if array.ndim == 3:  # sizes first: the copy to float32 is made of what is allowed
        count, steps, _ = array.shape
        if count > world.candidate_limit:
            raise PayloadTooLarge(f"{count} candidates, at most {world.candidate_limit} are allowed", field=field)
        if steps % block or not 1 <= steps // block <= world.horizon_limit:
            raise InvalidArgument(
                f"{steps} environment steps; expected a multiple of {block} up to {block * world.horizon_limit}",
                field=field,
            )
    return within_bounds(floats(array, (None, None, len(world.action.axes)), field), world, field)


def within_bounds(actions: Floats, world: World, field: str) -> Floats:
    """Refuse actions `[..., A]` that the environment does not know; rounding is forgiven."""
    return within_axes(actions, world.action.axes, field)


def within_axes(values: Floats, axes: tuple[Axis, ...], field: str) -> Floats:
    """Refuse values `[..., A]` beyond the bounds of their axes; rounding is forgiven."""
    for index, axis in enumerate(axes):
        slack = BOUND_SLACK * max(axis.high - axis.low, abs(axis.high))
        column = values[..., index]
        if column.min() < axis.low - slack or column.max() > axis.high + slack:
            raise InvalidArgument(f"{axis.name} must be within [{axis.low:g}, {axis.high:g}] {axis.unit}", field=field)
    return values


def limits(asked: ActionLimits, world: World) -> Limits:
    """Return the world's bounds narrowed by the caller's."""
    axes, width = world.action.axes, (len(world.action.axes),)
    low = np.array([axis.low for axis in axes], np.float32)
    high = np.array([axis.high for axis in axes], np.float32)
    if asked.low is not None:
        low = np.maximum(low, floats(asked.low, width, "limits.low"))
    if asked.high is not None:
        high = np.minimum(high, floats(asked.high, width, "limits.high"))
    if (low > high).any():
        raise InvalidArgument("low is over high, or the bounds lie outside the world's", field="limits")
    rate = None if asked.max_rate is None else floats(asked.max_rate, width, "limits.max_rate")
    if rate is not None and (rate <= 0).any():
        raise InvalidArgument("must be over 0", field="limits.max_rate")
    previous = None
    if asked.previous_action is not None:
        previous = within_bounds(floats(asked.previous_action, width, "limits.previous_action"), world, "limits")
        previous = np.clip(previous, low, high)
    return Limits(low, high, rate, previous)


def constraints(asked: Sequence[Constraint], world: World) -> tuple[Box, ...]:
    """Look the named readouts up in the world; their errors are its own, and those of plans where it knows them."""
    names = [readout.name for readout in world.readouts]
    found = []
    for number, one in enumerate(asked):
        field = f"constraints.{number}.readouts"
        for name, (low, high) in one.readouts.items():
            if name not in names:
                raise InvalidArgument(f"unknown; world {world.name} has {', '.join(names) or 'none'}", field=field)
            if low >= high:
                raise InvalidArgument(f"{name}: low must be under high", field=field)
        columns = tuple(names.index(name) for name in one.readouts)
        low_bounds, high_bounds = np.array(list(one.readouts.values()), np.float32).T
        errors = np.array([max(world.readouts[column].error, 1e-6) for column in columns], np.float32)
        keep_out = one.kind == "keep_out"
        found.append(Box(columns, low_bounds, high_bounds, keep_out, one.risk, errors, planned_errors(world, columns)))
    return tuple(found)


def planned_errors(world: World, columns: tuple[int, ...]) -> Floats | None:
    """Standard deviations `[H, K]` of predicted readouts' errors in plans, per latent unit of expected error."""
    planned = None if world.calibration is None else world.calibration.planned
    levels = () if planned is None else [level for level in planned.levels if level.level == NORMAL_LEVEL]
    if not levels or not levels[0].readout_radius:
        return None
    factors = np.array(levels[0].readout_radius, np.float32).reshape(-1, len(world.readouts))
    return factors[:, columns] / np.float32(NORMAL_RADIUS)


def readout_goal(values: dict[str, float], world: World) -> ReadoutGoal:
    """Look the named readouts up in the world; values outside a readout's range are refused."""
    names = [readout.name for readout in world.readouts]
    for name, value in values.items():
        if name not in names:
            known = ", ".join(names) or "none"
            raise InvalidArgument(f"unknown readout; world {world.name} has {known}", field="goal.readouts")
        readout = world.readouts[names.index(name)]
        if not readout.low <= value <= readout.high:
            bounds = f"[{readout.low:g}, {readout.high:g}] {readout.unit}"
            raise InvalidArgument(f"{name} must be within {bounds}", field="goal.readouts")
    columns = tuple(names.index(name) for name in values)
    ranges = [world.readouts[column].high - world.readouts[column].low for column in columns]
    return ReadoutGoal(columns, np.array(list(values.values()), np.float32), np.array(ranges, np.float32))
