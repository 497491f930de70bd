"""Numbers as a tool-calling model is told them: few of them, short, and some of them in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from wmserve.world import World

from wmserve_server.json_arrays import AnyArray
from wmserve_server.tools import answers as a

REASONS: Mapping[str, str] = {
    "observation": "what is seen is unlike anything that the model is known to understand",
    "goal": "the goal is unlike anything that the model is known to understand",
    "unfamiliar": "it leads where no recorded trajectory has been",
    "disagreement": "the model's members disagree about it",
    "held_out_gap": "members that the search did not ask find it much worse",
    "radius": "the model cannot say closely enough what its first steps will do",
    "changed": "what was observed in this session says that the world is not the one the model knows",
    "constraint": "it may leave keep_in or enter keep_out",
}
"""Why a plan is refused, by the core's reasons."""
UNCALIBRATED = "Nobody has measured how far this model errs, so there is no word on whether to believe it."


def short(value: Any, digits: int = 4) -> float:
    """A number with so many significant digits."""
    return float(f"{float(value):.{digits}g}")


def maybe(value: Any) -> float | None:
    """The same of what may be missing."""
    return None if value is None else short(value)


def clipped(text: str, most: int = a.SHOWN_NAME) -> str:
    """A text that somebody else wrote, in one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def readouts(world: World, values: AnyArray, radius: AnyArray | None = None) -> list[a.Readout]:
    """The first readouts `[R]`, with their radii if those are known."""
    return [
        a.Readout(
            name=clipped(readout.name),
            value=short(values[number]),
            unit=clipped(readout.unit),
            radius=None if radius is None else short(radius[number]),
        )
        for number, readout in enumerate(world.readouts[: a.SHOWN_READOUTS])
    ]


def steps(values: AnyArray, **more: AnyArray | None) -> list[a.Step]:
    """The readouts `[H, R]` and what else is known of each step, `[H]`: at most SHOWN_STEPS, evenly taken."""
    known = {name: array for name, array in more.items() if array is not None}
    return [
        a.Step(
            step=int(row) + 1,
            readouts=[short(value) for value in values[row, : a.SHOWN_READOUTS]],
            **{name: short(array[row]) for name, array in known.items()},
        )
        for row in shown_rows(len(values))
    ]


def shown_rows(count: int) -> list[int]:
    """Rows that are shown of so many, the last one among them."""
    if count <= a.SHOWN_STEPS:
        return list(range(count))
    return sorted({int(row) for row in np.linspace(0, count - 1, a.SHOWN_STEPS).round()})


def left_out(*cut: tuple[str, int, int], how: str = "/v1 for programs answers all") -> str | None:
    """What is not shown of lists: the name of each, how many there are, and how many are shown."""
    missing = [f"{shown} of {there} {name}" for name, there, shown in cut if shown < there]
    return f"Shown are {', '.join(missing)}; {how}." if missing else None


def in_words(found: Sequence[a.Readout]) -> str:
    """Readouts in words, the first three."""
    return ", ".join(
        f"{one.name} {one.value:g}{'' if one.radius is None else f' ± {one.radius:g}'} {one.unit}" for one in found[:3]
    )


def familiarity(p_value: float | None) -> str:
    """How usual what is seen is."""
    if p_value is None:
        return ""
    if p_value < 0.01:
        return " Fewer than 1 in 100 familiar frames are as strange: do not rely on what is said of it."
    return f" It looks familiar: {100 * p_value:.0f} % of familiar frames are as unlike the others."


def believed(world: World, trusted: int | None, count: int, radius: float | None) -> str:
    """How far a prediction may be believed, in model steps of so many."""
    if trusted is None or world.calibration is None:
        return UNCALIBRATED
    block, useful = world.action.action_block, world.calibration.tolerance
    off = f" The end is at most {radius:g} latent units off, nine times in ten; {useful:.3g} is still of use."
    size = "" if radius is None else off
    if trusted >= count:
        return f"The model is sure enough of all of it.{size}"
    if trusted == 0:
        return f"The model is not sure enough of any of it: do not rely on it.{size}"
    return f"Believe the first {trusted * block} environment steps, and not the rest.{size}"
