"""Which camera, which columns and which episodes of a data set are meant; errors list what there is.

Columns are named as KEY, KEY[2], KEY[0:3] or KEY[3,1]; several one after the other are put side by side.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wmserve_export.trajectories.bounds import DataError
from wmserve_export.trajectories.source import Column, Floats, Recording, Source

SELECTOR = re.compile(r"(.+?)(?:\[([-0-9:, ]+)\])?")
CAMERAS, ACTIONS = ("pixels", "images"), ("action", "actions")
"""Keys that are taken where nobody has chosen and there are several."""
SHOWN = 60


@dataclass(frozen=True)
class Picked:
    """Some numbers of a column."""

    key: str
    indices: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """Numbers of columns, side by side."""

    parts: tuple[Picked, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that are read."""
        return tuple(dict.fromkeys(part.key for part in self.parts))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers: the data set's, or made of key and place."""
        return tuple(name for part in self.parts for name in part.names)

    def __str__(self) -> str:
        return " ".join(f"{part.key}[{','.join(map(str, part.indices))}]" for part in self.parts)

    def of(self, recording: Recording) -> Floats:
        """Numbers `[rows, width]`."""
        return np.concatenate([recording.column(part.key)[:, list(part.indices)] for part in self.parts], axis=1)


def select(selectors: Sequence[str], columns: Mapping[str, Column], option: str) -> Selection:
    """The numbers that selectors name; DataError lists the columns where one names none."""
    return Selection(tuple(pick(selector, columns, option) for selector in selectors))


def pick(selector: str, columns: Mapping[str, Column], option: str) -> Picked:
    """Those of one; a column may itself be named like one."""
    match = SELECTOR.fullmatch(selector)
    key, index = (selector, None) if selector in columns or match is None else (match[1], match[2])
    column = columns.get(key)
    if column is None:
        raise DataError(f"{option}: there is no column {key}; there: {listed(columns)}")
    if index is None:
        indices = tuple(range(column.width))
    elif ":" in index:
        first, _, end = index.partition(":")
        indices = tuple(range(column.width))[slice(int(first or 0), int(end) if end.strip() else None)]
    else:
        indices = tuple(int(one) for one in index.split(","))
    if not indices or not all(-column.width <= one < column.width for one in indices):
        raise DataError(f"{option}: {key} has {column.width} numbers, from 0 on; {selector} is not among them")
    indices = tuple(one % column.width for one in indices)
    made = (key,) if column.width == 1 else tuple(f"{key}_{one}" for one in range(column.width))
    return Picked(key, indices, tuple((column.names or made)[one] for one in indices))


def listed(columns: Mapping[str, Column]) -> str:
    """Keys with their widths."""
    keys = [f"{key}[{column.width}]" for key, column in columns.items()]
    return ", ".join(keys[:SHOWN] + ["..."] * (len(keys) > SHOWN)) or "none"


def camera(source: Source, chosen: str | None) -> str:
    """The camera that is chosen, else the only one, else one that is usually meant; DataError lists them."""
    cameras = list(source.cameras)
    if chosen is not None and chosen not in cameras:
        raise DataError(f"--camera: there is no camera {chosen}; there: {', '.join(cameras) or 'none'}")
    found = chosen or (cameras[0] if len(cameras) == 1 else next((one for one in CAMERAS if one in cameras), None))
    if found is None:
        raise DataError(f"--camera: say which; there: {', '.join(cameras) or 'none'}")
    return found


def actions(source: Source, chosen: Sequence[str] | None) -> Selection:
    """The actions that are chosen, else a column that is called so; DataError lists the columns."""
    if chosen:
        return select(chosen, source.columns, "--action")
    found = next((key for key in ACTIONS if key in source.columns), None)
    if found is None:
        raise DataError(f"--action: say which column; there: {listed(source.columns)}")
    return select([found], source.columns, "--action")


def readouts(source: Source, chosen: Sequence[str]) -> Mapping[str, Selection]:
    """One number for each name, of options such as agent_x=proprio[0]."""
    found: dict[str, Selection] = {}
    for option in chosen:
        name, equals, selector = option.partition("=")
        if not name or not equals:
            raise DataError(f"--readout: must be NAME=COLUMN[INDEX], not {option}")
        selection = select([selector], source.columns, f"--readout {name}")
        if len(selection.names) != 1:
            raise DataError(
                f"--readout {name}: must be one number, and {selector} has {len(selection.names)}; "
                f"such as {name}={selector}[0]"
            )
        if name in found:
            raise DataError(f"--readout {name}: stands there twice")
        found[name] = selection
    return found


def place(name: str, seed: int) -> float:
    """Where an episode stands, from 0 to 1: as good as random, and the same whatever other episodes there are."""
    return int(hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()[:12], 16) / 16**12


@dataclass(frozen=True)
class Split:
    """Shares of the episodes by name, one after the other; they add up to 1 or less."""

    shares: tuple[tuple[str, float], ...]

    def part_of(self, name: str, seed: int) -> str | None:
        """The share that an episode belongs to; None where it belongs to none."""
        at, end = place(name, seed), 0.0
        for part, share in self.shares:
            end += share
            if at < end:
                return part
        return None


def split(text: str) -> Split:
    """Shares such as train=0.8,calibration=0.2; DataError where they are none."""
    shares = []
    for option in text.split(","):
        name, _, share = option.partition("=")
        try:
            shares.append((name.strip(), float(share)))
        except ValueError:
            raise DataError(f"--split: must be such as train=0.8,calibration=0.2, not {text}") from None
    if not all(name and 0 < share <= 1 for name, share in shares) or sum(share for _, share in shares) > 1 + 1e-9:
        raise DataError(f"--split: shares must be over 0 and add up to 1 at most, not {text}")
    return Split(tuple(shares))


def ordered(names: Sequence[str], seed: int, among: Collection[int]) -> list[int]:
    """Places of episodes in an order that says nothing of when they were recorded."""
    return sorted(among, key=lambda one: (place(names[one], seed), names[one]))


def chosen(names: Sequence[str], text: str | None) -> Collection[int]:
    """Places of episodes that an option names: FIRST:END, numbers with commas, or @FILE with one in each line."""
    if text is None:
        return range(len(names))
    if text.startswith("@"):
        with open(text[1:], encoding="utf-8") as lines:  # noqa: PTH123  # what a user names is a path as it stands
            wanted = [line.strip() for line in lines if line.strip()]
    elif ":" in text:
        first, _, end = text.partition(":")
        try:
            return range(len(names))[slice(int(first) if first else None, int(end) if end else None)]
        except ValueError:
            raise DataError(f"--episodes: must be such as 900:1000, 3,5,8 or @file.txt, not {text}") from None
    else:
        wanted = [part.strip() for part in text.split(",") if part.strip()]
    known = {name: number for number, name in enumerate(names)}
    found = []
    for one in wanted:
        number = known.get(one, int(one) if one.isdigit() else None)
        if number is None or number >= len(names):
            raise DataError(f"--episodes: there is no episode {one}; there are {len(names)}, such as {names[0]}")
        found.append(number)
    return sorted(set(found))
