"""Shapes that a TensorRT engine is built for: what a contract allows, and what is asked for most.

B     1 .. max_batch for encode and rollout; searches are run one by one
S     1 .. candidate_limit, mostly as many as the planner draws; one plan at a time is judged
h w   1 .. the contract's bounds, mostly the size that the encoder works on
T     1 .. context_length, mostly all
"""

from wmserve.world import World

from wmserve_export.engines import Axes, Engine, input_axes
from wmserve_export.families import FamilyConfig
from wmserve_export.tensorrt.builder import Profile, Shape

CANDIDATES = 64
"""Of a rollout in a world that does not plan."""
Range = tuple[int, int, int]


def of(config: FamilyConfig, world: World, engine: Engine, max_batch: int) -> Profile:
    """Smallest, usual and largest shape of each input."""
    sizes = ranges(world, engine, max_batch)
    axes = input_axes(config, engine.graph, engine.horizon)
    return {name: (shape(own, sizes, 0), shape(own, sizes, 1), shape(own, sizes, 2)) for name, own in axes.items()}


def ranges(world: World, engine: Engine, max_batch: int) -> dict[str, Range]:
    """Sizes of the free axes."""
    seen, drawn = world.observation, CANDIDATES if world.planner is None else world.planner.candidate_count
    most = 1 if engine.kind == "judge" else world.candidate_limit
    return {
        "B": (1, 1, most_rows(engine, max_batch)),
        "S": (1, min(drawn, most), most),
        "h": (1, max(1, min(seen.native_height, seen.max_height)), seen.max_height),
        "w": (1, max(1, min(seen.native_width, seen.max_width)), seen.max_width),
        "T": (1, world.context_length, world.context_length),
    }


def most_rows(engine: Engine, max_batch: int) -> int:
    """Most calls that an engine takes at once; a search is one."""
    return 1 if engine.verb == "plan" else max_batch


def shape(axes: Axes, sizes: dict[str, Range], place: int) -> Shape:
    """Axes with their letters replaced."""
    return tuple(sizes[axis][place] if isinstance(axis, str) else axis for axis in axes)
