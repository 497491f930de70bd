"""LeRobotDataset v3: numbers in parquet files, frames in videos or beside the numbers, a table of episodes.

    meta/info.json                           features, frames in a second, where files lie
    meta/episodes/chunk-000/file-000.parquet where each episode lies: rows, files, times in videos
    data/chunk-000/file-000.parquet          many episodes in one file
    videos/CAMERA/chunk-000/file-000.mp4     many episodes in one file

Read by pyarrow and PyAV; the package of LeRobot is not needed. What `meta` says is read in lerobot_meta.py, rows of an
episode in lerobot_rows.py.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq

from wmserve_export.trajectories.bounds import MAX_KEYS, DataError, at_most
from wmserve_export.trajectories.formats import Reading
from wmserve_export.trajectories.formats.lerobot_meta import (
    EPISODE,
    EPISODES,
    INFO,
    Place,
    described,
    is_numeric,
    places,
    rate,
    read_info,
)
from wmserve_export.trajectories.formats.lerobot_rows import Rows, beginnings
from wmserve_export.trajectories.source import Column, Recording

VERSION = "v3."
BOOKKEEPING = ("timestamp", "frame_index", EPISODE, "index", "task_index")


def recognises(dataset: Path) -> bool:
    """A folder with its description."""
    return (dataset / INFO).is_file()


def open_source(dataset: Path, reading: Reading) -> "LeRobot":
    """Open the folder."""
    del reading
    return LeRobot(dataset)


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
        return places(self._folder, self._info, self._videos)

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
