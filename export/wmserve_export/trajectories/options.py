"""What a user chooses, held against the data set and the world before anything is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wmserve.world import World

from wmserve_export.trajectories import selecting
from wmserve_export.trajectories.bounds import DataError
from wmserve_export.trajectories.selecting import Selection, Split
from wmserve_export.trajectories.source import Source
from wmserve_export.trajectories.timeline import Combine, Pace


@dataclass(frozen=True)
class Options:
    """What a user chooses."""

    camera: str | None = None
    action: Sequence[str] | None = None
    readouts: Sequence[str] = ()
    states: Sequence[str] = ()
    """Columns that the environment can be set to; none where it cannot be."""
    frame_stride: int = 1
    combine: Combine | None = None
    action_shift: int | None = None
    """None has the world's engines say."""
    limit: int | None = None
    """Most trajectories to write."""
    longest: int | None = None
    """Most model steps of a trajectory; of longer ones a stretch from a random moment is written."""
    resize: tuple[int, int] | None = None
    """Width and height, pixels."""
    episodes: str | None = None
    split: Split | None = None
    part: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Chosen:
    """Options that have been held against the data set and the world."""

    camera: str
    action: Selection
    readouts: Mapping[str, Selection]
    states: Selection | None
    pace: Pace
    order: Sequence[int]

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that are read."""
        every = (self.action, *self.readouts.values(), *([] if self.states is None else [self.states]))
        return tuple(dict.fromkeys(key for selection in every for key in selection.keys))


def choose(source: Source, world: World, options: Options) -> Chosen:
    """Hold options against data set and world; DataError says what does not fit."""
    axes, block = world.action.axes, world.action.action_block
    if not axes or not world.engine_horizons:
        raise DataError(f"world {world.name} knows no actions: there is nothing to calibrate on trajectories")
    if not world.observation.frames or world.observation.proprioception:
        raise DataError(
            f"world {world.name} takes proprioception, which trajectories for a calibration do not hold yet"
        )
    if options.frame_stride > 1 and options.combine is None:
        raise DataError(
            f"--frame-stride {options.frame_stride}: say with --combine how the actions of so many rows become one: "
            "sum (they are differences), mean (velocities), last or first (targets)"
        )
    action = selecting.actions(source, options.action)
    pace = Pace(block, options.frame_stride, options.combine)
    names = tuple(axis.name for axis in axes)
    if len(action.names) != len(axes) and not pace.packed(len(action.names), len(axes)):
        raise DataError(
            f"--action: world {world.name} has {len(axes)} axes ({', '.join(names)}), {action} has {len(action.names)} "
            f"numbers ({', '.join(action.names[:30])}); choose such as --action KEY[0:{len(axes)}]; "
            f"there: {selecting.listed(source.columns)}"
        )
    if pace.packed(len(action.names), len(axes)) and options.frame_stride > 1:
        raise DataError(f"--frame-stride: rows of {action} are model steps already")
    if set(action.names) == set(names) and action.names != names:
        raise DataError(f"--action: order of {', '.join(action.names)} must be that of the world: {', '.join(names)}")
    return Chosen(
        selecting.camera(source, options.camera),
        action,
        selecting.readouts(source, options.readouts),
        selecting.select(options.states, source.columns, "--states") if options.states else None,
        pace,
        part(source, options),
    )


def part(source: Source, options: Options) -> Sequence[int]:
    """Places of the episodes that are asked for, in an order that says nothing of when they were recorded."""
    names = source.episodes
    among = selecting.chosen(names, options.episodes)
    if (options.split is None) != (options.part is None):
        raise DataError(
            "--split and --part belong together, such as --split train=0.8,calibration=0.2 --part calibration"
        )
    if options.split is not None:
        known = [name for name, _ in options.split.shares]
        if options.part not in known:
            raise DataError(f"--part: must be one of {', '.join(known)}, not {options.part}")
        among = [one for one in among if options.split.part_of(names[one], options.seed) == options.part]
    if not among:
        raise DataError(f"there are no such episodes; the data set has {len(names)}")
    return selecting.ordered(names, options.seed, among)


def readouts_of(world: World, chosen: Mapping[str, Selection]) -> Sequence[str] | None:
    """Names of the contract's readouts, where the columns that are chosen are just those; None where others are."""
    names = [readout.name for readout in world.readouts]
    return names if names and set(names) == set(chosen) else None
