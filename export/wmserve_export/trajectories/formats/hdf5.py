"""Reads arrays of HDF5 files whose authors nobody knows: no objects, no links out of the file, no huge chunks."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from wmserve_export.trajectories.bounds import MAX_BLOCK_BYTES, MAX_KEYS, MAX_WIDTH, DataError, at_most
from wmserve_export.trajectories.formats.images import rgb
from wmserve_export.trajectories.source import Column, Floats, Frame

with suppress(ImportError):
    import hdf5plugin  # noqa: F401  # filters that compressed files may need

SUFFIXES = (".h5", ".hdf5")
READ_BYTES = 16 << 20
"""Of frames that are read at a time, where a chunk is no larger."""


def files(dataset: Path) -> list[Path]:
    """The HDF5 files that a path means, by name."""
    if dataset.is_file():
        return [dataset] if dataset.suffix in SUFFIXES else []
    return sorted(file for suffix in SUFFIXES for file in dataset.glob(f"*{suffix}"))


@contextmanager
def opened(file: Path) -> Iterator[h5py.File]:
    """The file; DataError where it is none."""
    try:
        content = h5py.File(file, "r")
    except OSError as error:
        raise DataError(f"{file.name} cannot be read as HDF5 (is it still being written?): {error}") from None
    with content:
        yield content


def child(group: h5py.Group, name: str, where: str) -> h5py.Group | h5py.Dataset:
    """What lies in a group itself; DataError for what lies elsewhere or is not there."""
    link = group.get(name, getlink=True)
    if link is None:
        raise DataError(f"{where}: there is no {name}; there: {', '.join(islice(group, 50))}")
    if not isinstance(link, h5py.HardLink):
        raise DataError(f"{where}: {name} is a link; only what lies in the file itself is read")
    return group[name]


def find(group: h5py.Group, path: str, where: str) -> h5py.Dataset:
    """The array under a path of names; DataError where there is none, or none that is safe to read."""
    found: h5py.Group | h5py.Dataset = group
    for name in path.split("/"):
        if not isinstance(found, h5py.Group):
            raise DataError(f"{where}: there is no {path}")
        found = child(found, name, where)
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{where}: {path} must be an array")
    check(found, f"{where} {path}")
    return found


def check(array: h5py.Dataset, where: str) -> None:
    """DataError unless it holds numbers that lie in the file itself, in chunks of a sane size."""
    if array.dtype.hasobject or array.dtype.kind not in "biuf":
        raise DataError(f"{where}: must hold numbers, not {array.dtype}")
    if array.is_virtual or array.external:
        raise DataError(f"{where}: lies in other files; only what lies in the file itself is read")
    if array.ndim == 0:
        raise DataError(f"{where}: must be an array with a row for each step")
    at_most(where, "bytes of a chunk", math.prod(array.chunks or (0,)) * array.dtype.itemsize, MAX_BLOCK_BYTES)
    at_most(where, "bytes of a row", row_bytes(array), MAX_BLOCK_BYTES)


def row_bytes(array: h5py.Dataset) -> int:
    """Of one row."""
    return math.prod(array.shape[1:]) * array.dtype.itemsize


def arrays(
    group: h5py.Group, where: str, depth: int = 3, known: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Arrays in a group and in its groups, by path; what is not safe to read is passed over."""
    at_most(where, "keys", len(group), MAX_KEYS)
    for name in group:
        if not known(name) or not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        found = group[name]
        if isinstance(found, h5py.Group) and depth > 1:
            yield from ((f"{name}/{below}", array) for below, array in arrays(found, f"{where} {name}", depth - 1))
        elif isinstance(found, h5py.Dataset):
            with suppress(DataError):
                check(found, where)
                yield name, found


def is_camera(array: h5py.Dataset) -> bool:
    """Whether it holds frames."""
    shape = array.shape
    return array.dtype == np.uint8 and len(shape) == 4 and (shape[-1] in (1, 3) or shape[1] in (1, 3))


def column(array: h5py.Dataset) -> Column | None:
    """Of numbers; None where it holds too many to be one."""
    width = math.prod(array.shape[1:])
    return Column(width) if 0 < width <= MAX_WIDTH else None


def read_numbers(array: h5py.Dataset, first: int, rows: int, where: str) -> Floats:
    """Rows `[rows, width]`."""
    at_most(where, "numbers in a row", math.prod(array.shape[1:]), MAX_WIDTH)
    at_most(where, "last row", first + rows, len(array))
    try:
        return np.asarray(array[first : first + rows], np.float32).reshape(rows, -1)
    except OSError as error:
        raise unreadable(where, error) from None


def read_frames(array: h5py.Dataset, first: int, rows: Sequence[int], where: str) -> Iterator[tuple[int, Frame]]:
    """Frames at ascending rows, counted from `first`; neighbours in one go, so that no chunk is unpacked often."""
    chunk = array.chunks[0] if array.chunks else 1
    span = max(chunk, READ_BYTES // max(row_bytes(array), 1))
    at_most(where, "bytes to read at a time", chunk * row_bytes(array), MAX_BLOCK_BYTES)
    start = 0
    while start < len(rows):
        end = start + 1
        while end < len(rows) and rows[end] - rows[start] < span and (chunk > 1 or rows[end] == rows[end - 1] + 1):
            end += 1
        low, high = first + rows[start], first + rows[end - 1] + 1
        at_most(where, "last row", high, len(array))
        try:
            block = array[low:high]
        except OSError as error:
            raise unreadable(where, error) from None
        for position in range(start, end):
            yield position, rgb(block[rows[position] - rows[start]], f"{where}[{rows[position]}]")
        start = end


def unreadable(where: str, error: OSError) -> DataError:
    """Damaged, or packed by what is not installed."""
    return DataError(f"{where} cannot be unpacked ({error}); a compressed file may need: pip install hdf5plugin")
