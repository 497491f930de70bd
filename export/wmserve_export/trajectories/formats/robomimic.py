"""robomimic's HDF5 files: a group of arrays for each demonstration, data/demo_0, data/demo_1, ..."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py

from wmserve_export.trajectories.bounds import MAX_EPISODES, MAX_ROWS, DataError, at_most
from wmserve_export.trajectories.formats import Reading, hdf5
from wmserve_export.trajectories.formats.stable_worldmodel import Rows
from wmserve_export.trajectories.source import Column, Recording

DATA, ACTIONS, NEXT = "data", "actions", "next_obs"
DEMONSTRATION = re.compile(r"demo_(\d+)")


def recognises(dataset: Path) -> bool:
    """A file with demonstrations, or a folder with such files."""
    found = hdf5.files(dataset)
    if not found:
        return False
    with hdf5.opened(found[0]) as content:
        return DATA in content


def open_source(dataset: Path, reading: Reading) -> "Demonstrations":
    """Open all its files."""
    del reading
    return Demonstrations(hdf5.files(dataset))


class Demonstrations:
    """Fits `Source`; what the first demonstration has, all have to have."""

    kind = "robomimic"
    rate = None

    def __init__(self, files: Sequence[Path]) -> None:
        self._places = [(file, name) for file in files for name in demonstrations(file)]
        if not self._places:
            raise DataError(f"{files[0].name}: there is no {DATA}/demo_0" if files else "there are no HDF5 files")
        at_most(files[0].name, "episodes", len(self._places), MAX_EPISODES)
        alone = len(files) == 1
        self.episodes: Sequence[str] = [name if alone else f"{file.stem}_{name}" for file, name in self._places]
        file, name = self._places[0]
        with hdf5.opened(file) as content:
            found = {
                path: array
                for path, array in hdf5.arrays(group(content, name, file.name), file.name)
                if not path.startswith(NEXT)
            }
            rows = len(found[ACTIONS]) if ACTIONS in found else max(map(len, found.values()), default=0)
            found = {path: array for path, array in found.items() if len(array) == rows}
            self.cameras = tuple(path for path, array in found.items() if hdf5.is_camera(array))
            self.columns: Mapping[str, Column] = {
                path: column
                for path, array in found.items()
                if path not in self.cameras and (column := hdf5.column(array)) is not None
            }

    @contextmanager
    def open(self, episode: int, camera: str | None, columns: Collection[str]) -> Iterator[Recording]:
        """As long as the shortest array that is asked for."""
        file, name = self._places[episode]
        where = f"{file.name} {name}"
        with hdf5.opened(file) as content:
            place = group(content, name, file.name)
            keys = [*columns, *([] if camera is None else [camera])]
            lengths = {key: len(hdf5.find(place, key, where)) for key in keys}
            if len(set(lengths.values())) > 1:
                raise DataError(f"{where}: must have as many rows in each array, not {lengths}")
            yield Rows(place, where, 0, at_most(where, "rows", min(lengths.values()), MAX_ROWS), camera)


def group(content: h5py.File, name: str, where: str) -> h5py.Group:
    """A demonstration."""
    data = hdf5.child(content, DATA, where)
    found = hdf5.child(data, name, where) if isinstance(data, h5py.Group) else None
    if not isinstance(found, h5py.Group):
        raise DataError(f"{where}: {DATA}/{name} must be a group")
    return found


def demonstrations(file: Path) -> list[str]:
    """Names of the demonstrations in a file, by their numbers."""
    with hdf5.opened(file) as content:
        data = hdf5.child(content, DATA, file.name)
        if not isinstance(data, h5py.Group):
            raise DataError(f"{file.name}: {DATA} must be a group")
        at_most(file.name, "episodes", len(data), MAX_EPISODES)
        found = {int(match[1]): name for name in data if (match := DEMONSTRATION.fullmatch(name))}
    return [found[number] for number in sorted(found)]
