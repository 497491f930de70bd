"""stable-worldmodel's Lance tables: a row for each step, images as bytes, episodes one after the other."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wmserve_export.trajectories.bounds import MAX_EPISODES, MAX_KEYS, MAX_ROWS, DataError, at_most
from wmserve_export.trajectories.formats import Reading
from wmserve_export.trajectories.formats.arrow import image, is_blob, is_list, is_number, numbers
from wmserve_export.trajectories.source import Column, Floats, Frame, Recording

EPISODE, STEP = "episode_idx", "step_idx"
ROWS = 32
"""Images that are read at a time."""


def recognises(dataset: Path) -> bool:
    """A table, or a folder with tables."""
    return dataset.is_dir() and (dataset.suffix == ".lance" or any(dataset.glob("*.lance")))


def open_source(dataset: Path, reading: Reading) -> "LanceTable":
    """Open a table."""
    del reading
    if dataset.suffix != ".lance":
        tables = sorted(dataset.glob("*.lance"))
        if len(tables) != 1:
            raise DataError(f"{dataset} has {len(tables)} tables; name one of {', '.join(one.name for one in tables)}")
        dataset = tables[0]
    try:
        return LanceTable(lance.dataset(str(dataset)), dataset.name)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{dataset.name} cannot be read as a Lance table: {error}") from None


class LanceTable:
    """Fits `Source`."""

    kind = "lance"
    rate = None

    def __init__(self, table: lance.LanceDataset, name: str) -> None:
        self._table, self.name = table, name
        at_most(name, "columns", len(table.schema), MAX_KEYS)
        if EPISODE not in table.schema.names:
            raise DataError(f"{name}: needs a column {EPISODE}; there: {', '.join(table.schema.names)}")
        fields = [field for field in table.schema if field.name not in (EPISODE, STEP)]
        self.cameras = tuple(field.name for field in fields if is_blob(field.type))
        self.columns: Mapping[str, Column] = {
            field.name: Column(width(field.type)) for field in fields if is_number(field.type) and width(field.type)
        }

    @cached_property
    def _bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Number of each episode, and the row where it begins; one more for the end."""
        found: list[NDArray[np.int64]] = []
        starts: list[NDArray[np.int64]] = []
        row, last = 0, None
        for batch in self._table.scanner(columns=[EPISODE]).to_batches():
            ids = np.asarray(batch.column(0).to_numpy(zero_copy_only=False), np.int64)
            before = np.concatenate([ids[:1] - 1 if last is None else [last], ids[:-1]])
            new = np.flatnonzero(ids != before)
            found.append(ids[new])
            starts.append(new + row)
            row, last = row + len(ids), ids[-1] if len(ids) else last
            at_most(self.name, "episodes", sum(map(len, found)), MAX_EPISODES)
        ids = np.concatenate(found) if found else np.zeros(0, np.int64)
        if len(np.unique(ids)) != len(ids):
            raise DataError(f"{self.name}: rows of an episode must follow each other; sort the table by {EPISODE}")
        return ids, np.concatenate([*starts, np.array([row])])

    @cached_property
    def episodes(self) -> Sequence[str]:
        """By their numbers."""
        return [f"episode_{number:06}" for number in self._bounds[0]]

    @contextmanager
    def open(self, episode: int, camera: str | None, columns: Collection[str]) -> Iterator[Recording]:
        """Rows between its bounds."""
        del columns
        first, end = (int(row) for row in self._bounds[1][episode : episode + 2])
        where = f"{self.name} {self.episodes[episode]}"
        at_most(where, "rows", end - first, MAX_ROWS)
        yield Rows(self._table, where, first, end - first, camera, self.columns)


@dataclass(frozen=True)
class Rows:
    """Fits `Recording`."""

    table: lance.LanceDataset
    where: str
    first: int
    rows: int
    camera: str | None
    columns: Mapping[str, Column]

    def frames(self, rows: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """Decoded, some at a time."""
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            table = self.table.take([self.first + row for row in part], columns=[str(self.camera)])
            for position, value in enumerate(table.column(0)):
                yield start + position, image(value, f"{self.where} {self.camera}[{part[position]}]")

    def column(self, key: str) -> Floats:
        """All of it."""
        table = self.table.to_table(columns=[key], offset=self.first, limit=self.rows)
        return numbers(table.column(0).combine_chunks(), self.columns[key].width, f"{self.where} {key}")


def width(kind: pa.DataType) -> int:
    """Numbers in a row; 0 where rows may have different ones."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * width(kind.value_type)
    return 0 if is_list(kind) else 1
