"""Rows of one episode of a folder of frames: numbers of its CSV, and the images that it names or that lie beside it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmserve_export.trajectories.bounds import MAX_IMAGE_BYTES, MAX_ROWS, DataError, at_most
from wmserve_export.trajectories.formats.images import SUFFIXES, decode
from wmserve_export.trajectories.formats.places import inside
from wmserve_export.trajectories.source import Floats, Frame

IMAGES = "images"
"""Camera of images that lie beside a CSV and have no folder of their own."""


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
