"""What every format answers, so that nothing else here knows any of them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Column:
    """Numbers that a data set holds of each row."""

    width: int
    """How many; those of more dimensions are flattened."""
    names: tuple[str, ...] = ()
    """Of each, if the data set says; else empty."""


class Recording(Protocol):
    """One episode, open."""

    @property
    def rows(self) -> int:
        """Moments in it."""

    def frames(self, rows: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """Frames `[h, w, 3]` of ascending rows, each with its position in `rows`; every position comes once."""

    def column(self, key: str) -> Floats:
        """Numbers `[rows, width]`."""


class Source(Protocol):
    """A data set."""

    @property
    def kind(self) -> str:
        """Its format."""

    @property
    def rate(self) -> float | None:
        """Rows in a second; None where it does not say."""

    @property
    def cameras(self) -> Collection[str]:
        """Keys of what holds frames."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """What holds numbers, by key."""

    @property
    def episodes(self) -> Sequence[str]:
        """A name for each, all different."""

    def open(self, episode: int, camera: str | None, columns: Collection[str]) -> AbstractContextManager[Recording]:
        """Open an episode by its place in `episodes`; DataError or OSError where it cannot be read.

        Frames are of `camera`; without one, none are asked for. Columns are among `columns`.
        """
