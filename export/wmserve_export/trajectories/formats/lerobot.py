"""LeRobotDataset v3: numbers in parquet files, frames in videos or beside the numbers, a table of episodes.

    meta/info.json                           features, frames in a second, where files lie
    meta/episodes/chunk-000/file-000.parquet where each episode lies: rows, files, times in videos
    data/chunk-000/file-000.parquet          many episodes in one file
    videos/CAMERA/chunk-000/file-000.mp4     many episodes in one file

Read by pyarrow and PyAV; the package of LeRobot is not needed.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wmserve_export.trajectories.bounds import (
    MAX_EPISODES,
    MAX_KEYS,
    MAX_META_BYTES,
    MAX_ROWS,
    MAX_WIDTH,
    DataError,
    at_most,
)
from wmserve_export.trajectories.formats import Reading
from wmserve_export.trajectories.formats.arrow import image, numbers
from wmserve_export.trajectories.formats.places import inside
from wmserve_export.trajectories.formats.video import frames_at
from wmserve_export.trajectories.source import Column, Floats, Frame, Recording

INFO, EPISODES = Path("meta/info.json"), Path("meta/episodes")
VERSION = "v3."
EPISODE = "episode_index"
BOOKKEEPING = ("timestamp", "frame_index", EPISODE, "index", "task_index")
ROWS = 64
"""Of images that lie beside the numbers, read at a time."""


def recognises(dataset: Path) -> bool:
    """A folder with its description."""
    return (dataset / INFO).is_file()


def open_source(dataset: Path, reading: Reading) -> "LeRobot":
    """Open the folder."""
    del reading
    return LeRobot(dataset)


@dataclass(frozen=True)
class Place:
    """Where an episode lies."""

    number: int
    rows: int
    data: Path
    videos: Mapping[str, tuple[Path, float]]
    """File and time at which it begins, seconds, by camera."""


class LeRobot:
    """Fits `Source`."""

    kind = "lerobot"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._info = info = read_info(folder / INFO)
        version = str(info.get("codebase_version"))
        if not version.startswith(VERSION):
            raise DataError(
                f"{folder.name}: must be a LeRobotDataset v3, not {version}; "
                "convert it: python -m lerobot.datasets.v30.convert_dataset_v21_to_v30"
            )
        features = info.get("features")
        if not isinstance(features, dict) or not all(isinstance(one, dict) for one in features.values()):
            raise DataError(f"{INFO}: must have features, an object for each")
        at_most(str(INFO), "features", len(features), MAX_KEYS)
        kinds = {key: feature.get("dtype") for key, feature in features.items()}
        self._videos = tuple(key for key, kind in kinds.items() if kind == "video")
        self._images = tuple(key for key, kind in kinds.items() if kind == "image")
        self.cameras = (*self._videos, *self._images)
        self.columns: Mapping[str, Column] = {
            key: described(key, feature)
            for key, feature in features.items()
            if key not in self.cameras and key not in BOOKKEEPING and is_numeric(kinds[key])
        }
        self.rate = rate(info)

    @cached_property
    def _places(self) -> Sequence[Place]:
        files = sorted((self._folder / EPISODES).glob("*/*.parquet"))
        if not files:
            raise DataError(f"{self._folder.name}: there are no {EPISODES}/*/*.parquet")
        found: list[Place] = []
        for file in files:
            with pq.ParquetFile(file) as content:
                at_most(str(EPISODES), "episodes", len(found) + content.metadata.num_rows, MAX_EPISODES)
                wanted = [EPISODE, "length", "data/chunk_index", "data/file_index"]
                for camera in self._videos:
                    wanted += [f"videos/{camera}/{part}" for part in ("chunk_index", "file_index", "from_timestamp")]
                if missing := [name for name in wanted if name not in content.schema_arrow.names]:
                    raise DataError(f"{EPISODES}/{file.name}: columns are missing: {', '.join(missing)}")
                for batch in content.iter_batches(batch_size=1024, columns=wanted):
                    found += [self._place(row) for row in batch.to_pylist()]
        if len({place.number for place in found}) != len(found):
            raise DataError(f"{EPISODES}: an {EPISODE} stands there twice")
        return found

    def _place(self, row: Mapping[str, Any]) -> Place:
        if wrong := [name for name, value in row.items() if not isinstance(value, int | float)]:
            raise DataError(f"{EPISODES}: {wrong[0]} of an episode must be a number, not {row[wrong[0]]}")

        def file(template: str, prefix: str, **names: str) -> Path:
            path = str(self._info.get(template))
            numbers = {part: int(row[f"{prefix}/{part}"]) for part in ("chunk_index", "file_index")}
            for part, number in numbers.items():
                path = path.replace(f"{{{part}:03d}}", f"{number:03d}").replace(f"{{{part}}}", str(number))
            for part, name in names.items():
                path = path.replace(f"{{{part}}}", name)
            return inside(self._folder, path, f"{INFO} {template}")

        return Place(
            int(row[EPISODE]),
            at_most(f"{EPISODES} episode {row[EPISODE]}", "length", int(row["length"]), MAX_ROWS),
            file("data_path", "data"),
            {
                camera: (
                    file("video_path", f"videos/{camera}", video_key=camera),
                    float(row[f"videos/{camera}/from_timestamp"]),
                )
                for camera in self._videos
            },
        )

    @cached_property
    def episodes(self) -> Sequence[str]:
        """By their numbers."""
        return [f"episode_{place.number:06}" for place in self._places]

    @contextmanager
    def open(self, episode: int, camera: str | None, columns: Collection[str]) -> Iterator[Recording]:
        """Rows of its parquet file."""
        del columns
        place = self._places[episode]
        where = f"{self._folder.name} {self.episodes[episode]}"
        if not place.data.is_file():
            raise DataError(f"{where}: there is no {place.data.relative_to(self._folder.resolve())}")
        starts = beginnings(place.data, place.data.stat().st_mtime_ns)
        first, rows = starts.get(place.number, (0, 0))
        if rows != place.rows:
            raise DataError(f"{where}: {EPISODES} says {place.rows} rows, {place.data.name} has {rows}")
        video = place.videos.get(camera) if camera is not None else None
        with pq.ParquetFile(place.data) as content:
            yield Rows(content, where, first, rows, camera, self.columns, video, self.rate)


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


def read_info(file: Path) -> Mapping[str, Any]:
    """The description; DataError where it is none."""
    at_most(str(INFO), "bytes", file.stat().st_size, MAX_META_BYTES)
    try:
        content = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{INFO} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{INFO} must be a JSON object")
    return content


def rate(info: Mapping[str, Any]) -> float:
    """Rows in a second."""
    fps = info.get("fps")
    if not isinstance(fps, int | float) or not 0 < fps < 1e6:
        raise DataError(f"{INFO}: fps must be a number over 0, not {fps}")
    return float(fps)


def is_numeric(kind: object) -> bool:
    """Whether a feature's type is one of numbers."""
    try:
        return np.dtype(str(kind)).kind in "biuf"
    except TypeError:
        return False


def described(key: str, feature: Mapping[str, Any]) -> Column:
    """Width and names of a feature's numbers."""
    shape, names = feature.get("shape"), feature.get("names")
    if not isinstance(shape, list) or not all(isinstance(size, int) and size > 0 for size in shape):
        raise DataError(f"{INFO} {key}: shape must be a list of numbers over 0, not {shape}")
    width = 1
    for size in shape:
        width = at_most(f"{INFO} {key}", "numbers in a row", width * size, MAX_WIDTH)
    if isinstance(names, dict) and len(names) == 1:  # such as {"motors": [...]}
        names = next(iter(names.values()))
    fits = isinstance(names, list) and len(names) == width and all(isinstance(name, str) for name in names)
    return Column(width, tuple(names) if fits and names else ())
