"""stable-worldmodel's HDF5 files: columns over all episodes, and where each episode begins and how long it is."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from wmserve_export.trajectories.bounds import MAX_EPISODES, MAX_ROWS, DataError, at_most
from wmserve_export.trajectories.formats import Reading, hdf5
from wmserve_export.trajectories.source import Column, Floats, Frame, Recording

LENGTH, OFFSET = "ep_len", "ep_offset"


def recognises(dataset: Path) -> bool:
    """A file with lengths and offsets, or a folder with one."""
    found = hdf5.files(dataset)
    if not found:
        return False
    with hdf5.opened(found[0]) as content:
        return LENGTH in content and OFFSET in content


def open_source(dataset: Path, reading: Reading) -> "Columns":
    """Open the file."""
    del reading
    found = hdf5.files(dataset)
    if len(found) != 1:
        raise DataError(f"{dataset} has {len(found)} HDF5 files; name one of {', '.join(file.name for file in found)}")
    return Columns(found[0])


class Columns:
    """Fits `Source`."""

    kind = "stable-worldmodel"
    rate = None

    def __init__(self, file: Path) -> None:
        self._file = file
        with hdf5.opened(file) as content:
            lengths, offsets = (hdf5.find(content, name, file.name) for name in (LENGTH, OFFSET))
            at_most(file.name, "episodes", len(lengths), MAX_EPISODES)
            if lengths.shape != offsets.shape or lengths.ndim != 1:
                raise DataError(f"{file.name}: {LENGTH} and {OFFSET} must be lists of equal length")
            self._lengths, self._offsets = (np.asarray(array[:], np.int64) for array in (lengths, offsets))
            found = dict(hdf5.arrays(content, file.name, 1, lambda name: name not in (LENGTH, OFFSET)))
            self.cameras = tuple(name for name, array in found.items() if hdf5.is_camera(array))
            self.columns: Mapping[str, Column] = {
                name: column
                for name, array in found.items()
                if name not in self.cameras and (column := hdf5.column(array)) is not None
            }
        self.episodes: Sequence[str] = [f"episode_{number:06}" for number in range(len(self._lengths))]

    @contextmanager
    def open(self, episode: int, camera: str | None, columns: Collection[str]) -> Iterator[Recording]:
        """Rows between its bounds."""
        del columns
        where = f"{self._file.name} {self.episodes[episode]}"
        rows = at_most(where, LENGTH, int(self._lengths[episode]), MAX_ROWS)
        first = at_most(where, OFFSET, int(self._offsets[episode]), MAX_ROWS * MAX_EPISODES)
        with hdf5.opened(self._file) as content:
            yield Rows(content, where, first, rows, camera)


@dataclass(frozen=True)
class Rows:
    """Fits `Recording`."""

    content: h5py.Group
    where: str
    first: int
    rows: int
    camera: str | None

    def frames(self, rows: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """Of the camera."""
        array = hdf5.find(self.content, str(self.camera), self.where)
        yield from hdf5.read_frames(array, self.first, rows, f"{self.where} {self.camera}")

    def column(self, key: str) -> Floats:
        """All of it."""
        array = hdf5.find(self.content, key, self.where)
        return hdf5.read_numbers(array, self.first, self.rows, f"{self.where} {key}")
