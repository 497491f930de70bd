"""Recognises the format of a data set from its files, and opens it.

lerobot            folder with meta/info.json: LeRobotDataset v3 (parquet, videos or images)
stable-worldmodel  .h5 file with ep_len and ep_offset, or a folder with one such file: as `World.collect` writes it
lance              .lance folder, or a folder with one: the same columns in a Lance table
robomimic          .hdf5 file with data/demo_0, data/demo_1, ..., or a folder of such files
frames             folder of images and CSV: one CSV with an episode column, or a folder with a CSV for each episode
mcap               .mcap file, or a folder of them, each of them one episode
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wmserve_export.trajectories.bounds import DataError
from wmserve_export.trajectories.source import Source

FORMATS = {
    "lerobot": "lerobot",
    "stable-worldmodel": "stable_worldmodel",
    "lance": "lance_table",
    "robomimic": "robomimic",
    "frames": "frames",
    "mcap": "mcap_files",
}
"""Modules of this package by the names of their formats, in the order in which a folder is tried."""
EXTRA = "wmserve[data]"

Clock = Literal["log", "publish", "header"]


@dataclass(frozen=True)
class Reading:
    """What formats with a time of their own are told."""

    rate: float | None = None
    """Rows that are taken of each second; None takes the median rate of the messages with the actions."""
    clock: Clock = "log"
    """Which of a message's times counts."""
    timing: str | None = None
    """Column whose messages say how long a row is: that of the actions."""


def recognise(dataset: Path) -> str:
    """Name of the format; DataError lists those that are known."""
    if not dataset.exists():
        raise DataError(f"there is no data set {dataset}")
    for name in FORMATS:
        if module(name)[0](dataset):
            return name
    raise DataError(
        f"{dataset} is of no format that is known; say which with --format. {' '.join((__doc__ or '').split())}"
    )


def open_source(dataset: Path, name: str | None, reading: Reading) -> Source:
    """Open a data set, by the format that is named or else recognised; DataError where that fails."""
    known = name or recognise(dataset)
    if not dataset.exists():
        raise DataError(f"there is no data set {dataset}")
    try:
        return module(known)[1](dataset, reading)
    except ModuleNotFoundError as error:
        raise DataError(f"format {known} needs {error.name}; run: pip install '{EXTRA}'") from None


def module(name: str) -> tuple[Callable[[Path], bool], Callable[[Path, Reading], Source]]:
    """Functions `recognises` and `open_source` of a format's module."""
    found = importlib.import_module(f"{__name__}.{FORMATS[name]}")
    return found.recognises, found.open_source
