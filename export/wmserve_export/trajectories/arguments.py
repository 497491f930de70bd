"""Arguments of ``wmserve trajectories``."""

import argparse
from pathlib import Path
from typing import get_args

from wmserve_export.trajectories import formats
from wmserve_export.trajectories.formats import FORMATS, Clock
from wmserve_export.trajectories.timeline import SHIFTS, Combine


def counted(text: str) -> int:
    """A whole number over 0."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def positive(text: str) -> float:
    """A number over 0."""
    if not 0 < float(text) < 1e9:
        raise argparse.ArgumentTypeError("must be over 0")
    return float(text)


def size(text: str) -> tuple[int, int]:
    """Width and height."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and 0 < int(width) <= 4096 and 0 < int(height) <= 4096):
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, such as 224x224, not {text}")
    return int(width), int(height)


def parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="wmserve trajectories",
        description="Write the trajectories that `wmserve calibrate` and `wmserve fit` read from a data set: a frame "
        "at each model step and the actions between them. Run it again to go on where it was stopped.",
        epilog="Exit status: 0 done; 1 done, but some episodes could not be read (DIR/trajectories.json says which); 2 "
        "data set or arguments do not fit, nothing was written; 130 stopped. "
        f"Formats: {' '.join((formats.__doc__ or '').split())}",
    )
    add = parser.add_argument
    add("dataset", type=Path, help="file or folder")
    add("--format", choices=sorted(FORMATS), help="its format (default: told from its files)")
    what = parser.add_argument_group("what to do")
    what.add_argument("--world", metavar="NAME", help="world in the repository that trajectories are for")
    what.add_argument("--out", type=Path, metavar="DIR", help="folder for the trajectories and their report")
    what.add_argument("--repository", type=Path, default=Path("model_repository"), help="default: %(default)s")
    what.add_argument(
        "--statistics",
        type=Path,
        metavar="FILE",
        help="write mean, std and bounds of the actions into this world.json instead (a new file, or a template of "
        "`wmserve export --template`); needs no world",
    )
    what.add_argument(
        "--action-block", type=counted, metavar="N", help="with --statistics: environment steps in a model step"
    )
    what.add_argument("--keys", action="store_true", help="list cameras and columns instead")
    what.add_argument("--list-episodes", action="store_true", help="list the episodes that are asked for instead")
    which = parser.add_argument_group("what to read")
    which.add_argument("--camera", metavar="KEY", help="where frames are (default: the only camera, or `pixels`)")
    which.add_argument(
        "--action",
        nargs="+",
        metavar="KEY",
        help="where actions are, one row an environment step: KEY, KEY[0:3] or KEY[3,1]; several are put side by side "
        "(default: `action` or `actions`). Rows with action_block times as many numbers are model steps",
    )
    which.add_argument(
        "--readout",
        action="append",
        metavar="NAME=KEY[I]",
        help="a named quantity for each frame; those of the contract are calibrated, others are for `wmserve fit`",
    )
    which.add_argument(
        "--states",
        nargs="+",
        metavar="KEY",
        help="what the environment can be set to at each frame, for `wmserve execute` (default: it cannot be set)",
    )
    which.add_argument(
        "--resize", type=size, metavar="WxH", help="reduce frames as callers will (default: as they are)"
    )
    pace = parser.add_argument_group("how rows are environment steps")
    pace.add_argument(
        "--frame-stride",
        type=counted,
        default=1,
        metavar="N",
        help="rows in one environment step (default: %(default)s)",
    )
    pace.add_argument(
        "--combine",
        choices=get_args(Combine),
        help="how the actions of these rows become one; needed where there are several",
    )
    pace.add_argument(
        "--action-shift",
        choices=["auto", *map(str, SHIFTS)],
        default="auto",
        help="0: a row's action leads on from its frame; 1: it led to its frame; auto: what predicts best by the "
        "world's own engines, where that is clear, else 0 (default: %(default)s)",
    )
    pace.add_argument(
        "--rate", type=positive, metavar="HZ", help="mcap: rows in a second (default: that of the actions)"
    )
    pace.add_argument(
        "--clock", choices=get_args(Clock), default="log", help="mcap: which time counts (default: %(default)s)"
    )
    some = parser.add_argument_group("which episodes")
    some.add_argument("--episodes", metavar="WHICH", help="FIRST:END, numbers or names with commas, or @FILE")
    some.add_argument(
        "--split",
        metavar="NAME=SHARE,...",
        help="shares of the episodes, such as train=0.8,calibration=0.2; an episode keeps its share when others come",
    )
    some.add_argument("--part", metavar="NAME", help="the share to take")
    some.add_argument(
        "--seed", type=int, default=0, help="of the split, of the order, of stretches (default: %(default)s)"
    )
    some.add_argument("--limit", type=counted, metavar="N", help="write at most so many, drawn at random")
    some.add_argument(
        "--longest",
        type=counted,
        metavar="STEPS",
        help="of longer episodes take so many model steps from a random moment",
    )
    add("--quiet", action="store_true", help="show no progress")
    return parser
