"""Mean, standard deviation and range of each axis of the actions, of any number of rows in little memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmserve_export.families import FamilyError
from wmserve_export.families.commented import put, read_commented
from wmserve_export.repository import replace_file
from wmserve_export.trajectories.bounds import DataError
from wmserve_export.trajectories.source import Floats

KEPT = 100_000
"""Rows that quantiles are taken from; a random sample where there are more."""
TAILS = (0.01, 0.99)
FAR = 3.0
"""A range so many times as wide as that of 98 % of the rows is one of outliers."""


@dataclass(frozen=True)
class AxisStatistics:
    """Of one axis, environment units."""

    name: str
    mean: float
    std: float
    low: float
    """Least value seen."""
    high: float
    """Largest."""
    low_1: float
    """1 % of the rows are under it."""
    high_99: float
    """1 % are over it."""

    @property
    def outliers(self) -> bool:
        """Whether few rows make the range much wider than the others do."""
        return self.high - self.low > FAR * max(self.high_99 - self.low_1, 1e-12)


@dataclass
class Gathering:
    """Adds up rows."""

    width: int
    count: int = 0
    mean: NDArray[np.float64] = field(init=False)
    squares: NDArray[np.float64] = field(init=False)
    low: NDArray[np.float64] = field(init=False)
    high: NDArray[np.float64] = field(init=False)
    _sample: list[Floats] = field(init=False, default_factory=list)
    _kept: int = 0
    _every: int = 1

    def __post_init__(self) -> None:
        self.mean, self.squares = np.zeros(self.width), np.zeros(self.width)
        self.low, self.high = np.full(self.width, np.inf), np.full(self.width, -np.inf)

    def add(self, rows: Floats) -> None:
        """Rows `[n, width]`; those that are not finite do not count (Chan et al., 1979)."""
        rows = rows[np.isfinite(rows).all(axis=1)]
        if not len(rows):
            return
        values, known, new = rows.astype(np.float64), self.count, len(rows)
        mean = values.mean(axis=0)
        self.squares += ((values - mean) ** 2).sum(axis=0) + (mean - self.mean) ** 2 * known * new / (known + new)
        self.mean += (mean - self.mean) * new / (known + new)
        self.count += new
        self.low, self.high = np.minimum(self.low, values.min(axis=0)), np.maximum(self.high, values.max(axis=0))
        self._sample.append(rows[(-known) % self._every :: self._every].copy())
        self._kept += len(self._sample[-1])
        if self._kept > KEPT:  # every other row of what is kept, and from now on
            self._every *= 2
            self._sample = [np.concatenate(self._sample)[::2]]
            self._kept = len(self._sample[0])

    def found(self, names: Sequence[str]) -> tuple[AxisStatistics, ...]:
        """Statistics; DataError where there were no rows."""
        if not self.count:
            raise DataError("there are no actions to take statistics of")
        std = np.sqrt(self.squares / self.count)
        low, high = np.quantile(np.concatenate(self._sample), TAILS, axis=0)
        rows = zip(self.mean, std, self.low, self.high, low, high, strict=True)
        return tuple(AxisStatistics(name, *map(float, row)) for name, row in zip(names, rows, strict=True))


def unlike(one: Gathering, other: Gathering) -> float:
    """Largest difference of the means of two, over the standard deviation of all rows of both."""
    if not one.count or not other.count:
        return 0.0
    count = one.count + other.count
    between = (one.mean - other.mean) ** 2 * one.count * other.count / count
    std = np.sqrt((one.squares + other.squares + between) / count)
    return float((np.abs(one.mean - other.mean) / np.maximum(std, 1e-12)).max())


def merge(file: Path, found: Sequence[AxisStatistics], action_block: int | None) -> bool:
    """Put statistics into the ``action`` of a world.json, for ``wmserve export --world``; whether the file was there.

    Names, units, comments and all else that stands there are kept; DataError where it has other axes.
    """
    there = file.exists()
    content = read(file) if there else {}
    action = content.get("action", {})
    if not isinstance(action, dict):
        raise DataError(f"{file}: action must be an object, not {action!r}")
    axes = named(action) or [{"name": one.name, "unit": "1"} for one in found]
    if len(axes) != len(found) or not all(isinstance(axis, dict) for axis in axes):
        raise DataError(
            f"{file}: action has {len(axes)} axes, the data set {len(found)}: {', '.join(one.name for one in found)}; "
            "choose some with --action KEY[FIRST:END], or empty the list of axes"
        )
    known = action.get("action_block")
    if action_block is not None and known not in (None, action_block):
        raise DataError(f"{file}: action_block is {known}, --action-block {action_block}; make them one")
    text = file.read_text() if there else "{}\n"
    if "action" not in content:
        text = put(text, ["action"], {})
    text = put(text, ["action", "action_block"], action_block or known or 1)
    text = put(text, ["action", "axes"], [{**axis, **numbers(one)} for axis, one in zip(axes, found, strict=True)])
    replace_file(file, text.encode())
    return there


def named(action: Mapping[str, Any]) -> list[Any]:
    """The axes of an action in a world.json; none where a template's have not been filled in yet."""
    axes = action.get("axes")
    if not isinstance(axes, list) or all(isinstance(axis, dict) and axis.get("name") is None for axis in axes):
        return []
    return axes


def axes_of(file: Path) -> int:
    """How many axes a world.json names; 0 where there is no file, or it names none."""
    action = read(file).get("action") if file.exists() else None
    return len(named(action)) if isinstance(action, dict) else 0


def read(file: Path) -> dict[str, Any]:
    """What a world.json says, as the exporter reads it; DataError where it cannot be changed."""
    if file.suffix in (".yaml", ".yml"):
        raise DataError(f"--statistics: {file} is YAML, and only JSON is written: name a file NAME.json")
    try:
        return read_commented(file)
    except FamilyError as error:
        raise DataError(f"{file}: {error}") from None


def numbers(axis: AxisStatistics) -> Mapping[str, float]:
    """What a contract says of an axis; one that never moved has a standard deviation of 1: nothing to scale."""
    return {"low": axis.low, "high": axis.high, "mean": axis.mean, "std": axis.std if axis.std > 1e-9 else 1.0}
