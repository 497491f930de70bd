"""Which columns are to become readouts: ``--readout NAME[:UNIT[:LOW:HIGH]]``, or all that have names."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

from wmserve.trajectories import TrajectoryError

NO_UNIT = "1"


@dataclass(frozen=True)
class Wanted:
    """A readout that is asked for."""

    name: str
    unit: str = NO_UNIT
    low: float | None = None
    """None takes the least value in the trajectories that it is fitted to."""
    high: float | None = None


def parse(text: str) -> Wanted:
    """What an option says; argparse's error where it is malformed."""
    name, *rest = text.split(":")
    if not name or len(rest) not in (0, 1, 3):
        raise argparse.ArgumentTypeError(f"must be NAME, NAME:UNIT or NAME:UNIT:LOW:HIGH, not {text!r}")
    if len(rest) < 3:
        return Wanted(name, rest[0] if rest else NO_UNIT)
    try:
        low, high = float(rest[1]), float(rest[2])
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"LOW and HIGH of {name} must be numbers, not {rest[1]!r}, {rest[2]!r}"
        ) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise argparse.ArgumentTypeError(f"LOW of {name} must be under HIGH and both finite, not {low:g} and {high:g}")
    return Wanted(name, rest[0] or NO_UNIT, low, high)


def columns(wanted: Sequence[Wanted], names: Sequence[str], count: int) -> tuple[tuple[Wanted, int], ...]:
    """Each readout and its column; TrajectoryError where trajectories have other columns.

    Args:
        wanted: What is asked for; if nothing, all columns that have names.
        names: Of the columns, if the trajectories say them.
        count: Of the columns.
    """
    if len({one.name for one in wanted}) < len(wanted):
        raise TrajectoryError("--readout: each name may stand there once")
    if not names:
        if len(wanted) != count:
            raise TrajectoryError(
                f"the trajectories have {count} columns of readouts without names, and --readout names {len(wanted)}; "
                "name each in their order, as --readout NAME:UNIT, or say --no-readouts"
            )
        return tuple((one, column) for column, one in enumerate(wanted))
    if unknown := [one.name for one in wanted if one.name not in names]:
        raise TrajectoryError(f"the trajectories have no column {unknown[0]}; they have: {', '.join(names)}")
    return tuple((one, list(names).index(one.name)) for one in wanted or map(Wanted, names))
