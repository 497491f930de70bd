"""Folders of images with the numbers in CSV files, whose first line names the columns.

    one CSV           DIR/frames.csv with a column `episode`; rows of an episode follow each other
    one each episode  DIR/EPISODE/*.csv

A column with paths of images, relative to the CSV, is a camera. Without one, the images in an episode's folder are, in
the order of their names with numbers by value (2 before 10), one for each row; images in folders below it are cameras
by the names of those. Columns named alike but for a number (action_0, action_1 or action.x, action.y) are also one
column by what they share: action.
"""

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from wmserve_export.trajectories.bounds import (
    MAX_EPISODES,
    MAX_IMAGE_BYTES,
    MAX_KEYS,
    MAX_ROWS,
    DataError,
    at_most,
)
from wmserve_export.trajectories.formats import Reading
from wmserve_export.trajectories.formats.images import SUFFIXES, decode
from wmserve_export.trajectories.formats.places import inside
from wmserve_export.trajectories.source import Column, Floats, Frame, Recording

EPISODE = ("episode", "episode_index", "episode_idx", "episode_id")
"""Names of the column that tells episodes apart."""
IMAGES = "images"
"""Camera of images that lie beside a CSV and have no folder of their own."""
PART = re.compile(r"(.+?)(?:[._](?:\d+|[xyzw]|roll|pitch|yaw)|\[\d+\])")
MAX_LINE = 1 << 20


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


@dataclass(frozen=True)
class Rows:
    """Fits `Recording`."""

    folder: Path
    beside: Path
    where: str
    numbers: Floats
    names: Sequence[str]
    groups: Mapping[str, tuple[str, ...]]
    images: Sequence[str]

    @property
    def rows(self) -> int:
        """Of the CSV."""
        return len(self.numbers)

    def frames(self, rows: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """Read and decoded one by one."""
        for position, row in enumerate(rows):
            where = f"{self.where} row {row}"
            file = inside(self.folder, str(self.beside.relative_to(self.folder) / self.images[row]), where)
            if not file.is_file():
                raise DataError(f"{where}: there is no image {self.images[row]}")
            at_most(f"{where} {file.name}", "bytes of an image", file.stat().st_size, MAX_IMAGE_BYTES)
            yield position, decode(file.read_bytes(), f"{where} {file.name}")

    def column(self, key: str) -> Floats:
        """Those that the key stands for."""
        return self.numbers[:, [self.names.index(name) for name in self.groups[key]]]


def records(content: BinaryIO, where: str, first: int = 0) -> Iterator[tuple[int, list[str], list[str]]]:
    """Rows of a CSV, from byte `first` on if that is not 0: where each begins, the header, its values."""

    def lines() -> Iterator[str]:
        while line := content.readline(MAX_LINE + 1):
            at_most(where, "bytes of a line", len(line), MAX_LINE)
            yield line.decode("utf-8-sig")

    content.seek(0)
    try:
        header = next(csv.reader(lines(), strict=True), [])
        at_most(where, "columns", len(header), MAX_KEYS)
        if len(set(header)) != len(header):
            raise DataError(f"{where}: names of columns must differ: {', '.join(header)}")
        if first:
            content.seek(first)
        reader, start = csv.reader(lines(), strict=True), content.tell()
        for row in reader:
            if row and len(row) != len(header):
                raise DataError(f"{where}: a row must have {len(header)} values, as the first line has, not {len(row)}")
            if row:
                yield start, header, row
            start = content.tell()
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{where} cannot be read as CSV: {error}") from None


def is_number(text: str) -> bool:
    """Whether it can be read as one."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def parsed(values: Sequence[str], names: Sequence[str], where: str) -> list[float]:
    """Numbers of a row; an empty value is none (NaN)."""
    found = []
    for name, value in zip(names, values, strict=True):
        if value and not is_number(value):
            raise DataError(f"{where}: {name} must be a number, not {value[:50]!r}")
        found.append(float(value or "nan"))
    return found


def grouped(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Columns by name, and those that are named alike by what they share."""
    found = {name: (name,) for name in names}
    shared: dict[str, tuple[str, ...]] = {}
    for name in names:
        if (match := PART.fullmatch(name)) and match[1] not in found:
            shared[match[1]] = (*shared.get(match[1], ()), name)
    return {**{key: group for key, group in shared.items() if len(group) > 1}, **found}


def beside(folder: Path) -> dict[str, list[str]]:
    """Images in a folder and in the folders in it, by camera, in order; paths are relative to it."""
    found: dict[str, list[str]] = {}
    for file in (*folder.glob("*"), *folder.glob("*/*")):
        if file.suffix.lower() in SUFFIXES:
            camera = IMAGES if file.parent == folder else file.parent.name
            found.setdefault(camera, []).append(str(file.relative_to(folder)))
            at_most(str(folder.name), "images", len(found[camera]), MAX_ROWS)
    return {camera: sorted(images, key=by_number) for camera, images in sorted(found.items())}


def by_number(name: str) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]
