"""Rows of one episode of a LeRobotDataset v3: numbers of a parquet file, frames of a video or beside the numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wmserve_export.trajectories.bounds import MAX_ROWS, DataError, at_most
from wmserve_export.trajectories.formats.arrow import image, numbers
from wmserve_export.trajectories.formats.lerobot_meta import EPISODE
from wmserve_export.trajectories.formats.video import frames_at
from wmserve_export.trajectories.source import Column, Floats, Frame

ROWS = 64
"""Of images that lie beside the numbers, read at a time."""


@dataclass(frozen=True)
class Rows:
    """Fits `Recording`."""

    content: pq.ParquetFile
    where: str
    first: int
    rows: int
    camera: str | None
    columns: Mapping[str, Column]
    video: tuple[Path, float] | None
    rate: float

    def frames(self, rows: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """Of the video, or of the parquet file."""
        where = f"{self.where} {self.camera}"
        if self.video is not None:
            file, start = self.video
            yield from frames_at(file, [start + row / self.rate for row in rows], 0.49 / self.rate, where)
            return
        wanted, position = list(rows), 0
        for begin, batch in self._batches(str(self.camera)):
            while position < len(wanted) and wanted[position] < begin + len(batch):
                row = wanted[position]
                yield position, image(batch[row - begin], f"{where}[{row}]")
                position += 1

    def column(self, key: str) -> Floats:
        """All of it."""
        where, width = f"{self.where} {key}", self.columns[key].width
        parts = [numbers(batch, width, where) for _, batch in self._batches(key)]
        return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)

    def _batches(self, key: str) -> Iterator[tuple[int, pa.Array]]:
        """Parts of a column with the row at which each begins."""
        if key not in self.content.schema_arrow.names:
            raise DataError(f"{self.where}: there is no column {key} in its parquet file")
        offset, end = 0, self.first + self.rows
        for group in range(self.content.num_row_groups):
            size = self.content.metadata.row_group(group).num_rows
            if offset < end and offset + size > self.first:
                at = offset
                for batch in self.content.iter_batches(batch_size=ROWS, row_groups=[group], columns=[key]):
                    low, high = max(self.first, at), min(end, at + len(batch))
                    if low < high:
                        yield low - self.first, batch.column(0).slice(low - at, high - low)
                    at += len(batch)
            offset += size


@lru_cache(maxsize=16)
def beginnings(file: Path, changed: int) -> Mapping[int, tuple[int, int]]:
    """First row in the file, and number of rows, by episode; `changed` tells a file that was written since."""
    del changed
    with pq.ParquetFile(file) as content:
        at_most(file.name, "rows", content.metadata.num_rows, MAX_ROWS * 100)
        if EPISODE not in content.schema_arrow.names:
            raise DataError(f"{file.name}: there is no column {EPISODE}")
        column = content.read(columns=[EPISODE]).column(0)
    ids = np.asarray(column.to_numpy(), np.int64)
    found, first, rows = np.unique(ids, return_index=True, return_counts=True)
    edges = int((np.diff(ids) != 0).sum()) + bool(len(ids))
    if edges != len(found):
        raise DataError(f"{file.name}: rows of an episode must follow each other")
    return {int(one): (int(start), int(count)) for one, start, count in zip(found, first, rows, strict=True)}
