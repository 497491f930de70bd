"""Folders of images with the numbers in CSV files, whose first line names the columns.

    one CSV           DIR/frames.csv with a column `episode`; rows of an episode follow each other
    one each episode  DIR/EPISODE/*.csv

A column with paths of images, relative to the CSV, is a camera. Without one, the images in an episode's folder are, in
the order of their names with numbers by value (2 before 10), one for each row; images in folders below it are cameras
by the names of those. Columns named alike but for a number (action_0, action_1 or action.x, action.y) are also one
column by what they share: action.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from wmserve_export.trajectories.bounds import MAX_EPISODES, MAX_ROWS, DataError, at_most
from wmserve_export.trajectories.formats import Reading
from wmserve_export.trajectories.formats.csv_rows import grouped, is_number, parsed, records
from wmserve_export.trajectories.formats.frames_rows import Rows, beside
from wmserve_export.trajectories.formats.images import SUFFIXES
from wmserve_export.trajectories.source import Column, Recording

EPISODE = ("episode", "episode_index", "episode_idx", "episode_id")
"""Names of the column that tells episodes apart."""


@dataclass(frozen=True)
class Place:
    """Where an episode lies."""

    name: str
    file: Path
    first: int
    """Byte of the CSV at which its first row begins."""
    rows: int | None
    """None for the whole file."""


def recognises(dataset: Path) -> bool:
    """A CSV, a folder with one, or with folders with one."""
    return bool(tables(dataset))


def tables(dataset: Path) -> list[Path]:
    """The CSV of all episodes, or that of each."""
    if dataset.is_file():
        return [dataset] if dataset.suffix == ".csv" else []
    return sorted(dataset.glob("*.csv")) or sorted(dataset.glob("*/*.csv"))


def open_source(dataset: Path, reading: Reading) -> "Frames":
    """Open the folder."""
    del reading
    found = tables(dataset)
    if not found:
        raise DataError(f"{dataset}: there is no CSV in it, nor in its folders")
    at_most(dataset.name, "episodes", len(found), MAX_EPISODES)
    return Frames(dataset.parent if dataset.is_file() else dataset, found)


class Frames:
    """Fits `Source`; columns are those of the first CSV."""

    kind = "frames"
    rate = None

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self._folder, self._files = folder, files
        self._together = files[0].parent == folder
        if self._together and len(files) > 1:
            raise DataError(f"{folder}: must have one CSV, not {', '.join(file.name for file in files)}")
        with files[0].open("rb") as content:
            found = next(records(content, files[0].name), None)
        if found is None:
            raise DataError(f"{files[0].name}: has no rows")
        header = found[1]
        values = dict(zip(header, found[2], strict=True))
        self._episode = next((name for name in EPISODE if name in header), None)
        if self._together and self._episode is None:
            raise DataError(f"{files[0].name}: one CSV for all needs a column {EPISODE[0]}; there: {', '.join(header)}")
        named = tuple(name for name, value in values.items() if value.lower().endswith(SUFFIXES))
        self._named = frozenset(named)
        self.cameras = named or tuple(beside(files[0].parent))
        self.groups = grouped([name for name in header if name != self._episode and is_number(values.get(name, ""))])
        self.columns: Mapping[str, Column] = {key: Column(len(names), names) for key, names in self.groups.items()}

    @cached_property
    def _places(self) -> Sequence[Place]:
        if not self._together:
            return [Place(file.parent.name, file, 0, None) for file in self._files]
        found: list[Place] = []
        file = self._files[0]
        with file.open("rb") as content:
            for start, header, row in records(content, file.name):
                name = row[header.index(str(self._episode))]
                if not found or found[-1].name != name:
                    found.append(Place(name, file, start, 0))
                    at_most(file.name, "episodes", len(found), MAX_EPISODES)
                found[-1] = Place(name, file, found[-1].first, (found[-1].rows or 0) + 1)
        return found

    @cached_property
    def episodes(self) -> Sequence[str]:
        """By the column, or by the folders' names."""
        names = [place.name for place in self._places]
        if len(set(names)) != len(names):
            what = "sort the CSV by it" if self._together else "each folder must have one CSV"
            raise DataError(f"{self._folder.name}: rows of an episode must follow each other; {what}")
        return names

    @contextmanager
    def open(self, episode: int, camera: str | None, columns: Collection[str]) -> Iterator[Recording]:
        """All its rows, of the columns that are asked for."""
        place = self._places[episode]
        where = f"{place.file.name} {self.episodes[episode]}"
        wanted = [name for key in columns for name in self.groups[key]]
        named = camera if camera in self._named else None
        rows: list[list[str]] = []
        with place.file.open("rb") as content:
            for _, header, row in records(content, where, place.first):
                if place.rows is not None and len(rows) == place.rows:
                    break
                if missing := [name for name in (*wanted, *([named] if named else [])) if name not in header]:
                    raise DataError(f"{where}: columns are missing: {', '.join(missing)}")
                rows.append([row[header.index(name)] for name in (*wanted, *([named] if named else []))])
                at_most(where, "rows", len(rows), MAX_ROWS)
        values = [parsed(row[: len(wanted)], wanted, f"{where} row {number}") for number, row in enumerate(rows)]
        images: list[str] = []
        if named is not None:
            images = [row[-1] for row in rows]
        elif camera is not None:
            images = beside(place.file.parent).get(camera, [])
            if len(images) != len(rows):
                raise DataError(f"{where}: must have an image for each of {len(rows)} rows; {camera} has {len(images)}")
        numbers = np.asarray(values, np.float32).reshape(len(rows), len(wanted))
        yield Rows(self._folder, place.file.parent, where, numbers, wanted, self.groups, images)
