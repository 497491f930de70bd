"""What the ``meta`` folder of a LeRobotDataset v3 says: features, and where each episode lies."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from wmserve_export.trajectories.bounds import (
    MAX_EPISODES,
    MAX_META_BYTES,
    MAX_ROWS,
    MAX_WIDTH,
    DataError,
    at_most,
)
from wmserve_export.trajectories.formats.places import inside
from wmserve_export.trajectories.source import Column

INFO, EPISODES = Path("meta/info.json"), Path("meta/episodes")
EPISODE = "episode_index"


@dataclass(frozen=True)
class Place:
    """Where an episode lies."""

    number: int
    rows: int
    data: Path
    videos: Mapping[str, tuple[Path, float]]
    """File and time at which it begins, seconds, by camera."""


def places(folder: Path, info: Mapping[str, Any], cameras: Sequence[str]) -> Sequence[Place]:
    """Where episodes lie, with the videos of these cameras; DataError where the table does not say it."""
    files = sorted((folder / EPISODES).glob("*/*.parquet"))
    if not files:
        raise DataError(f"{folder.name}: there are no {EPISODES}/*/*.parquet")
    wanted = [EPISODE, "length", "data/chunk_index", "data/file_index"]
    for camera in cameras:
        wanted += [f"videos/{camera}/{part}" for part in ("chunk_index", "file_index", "from_timestamp")]
    found: list[Place] = []
    for file in files:
        with pq.ParquetFile(file) as content:
            at_most(str(EPISODES), "episodes", len(found) + content.metadata.num_rows, MAX_EPISODES)
            if missing := [name for name in wanted if name not in content.schema_arrow.names]:
                raise DataError(f"{EPISODES}/{file.name}: columns are missing: {', '.join(missing)}")
            for batch in content.iter_batches(batch_size=1024, columns=wanted):
                found += [place(folder, info, cameras, row) for row in batch.to_pylist()]
    if len({one.number for one in found}) != len(found):
        raise DataError(f"{EPISODES}: an {EPISODE} stands there twice")
    return found


def place(folder: Path, info: Mapping[str, Any], cameras: Sequence[str], row: Mapping[str, Any]) -> Place:
    """Where one episode lies, by its row of the table."""
    if wrong := [name for name, value in row.items() if not isinstance(value, int | float)]:
        raise DataError(f"{EPISODES}: {wrong[0]} of an episode must be a number, not {row[wrong[0]]}")

    def file(template: str, prefix: str, **names: str) -> Path:
        path = str(info.get(template))
        numbers = {part: int(row[f"{prefix}/{part}"]) for part in ("chunk_index", "file_index")}
        for part, number in numbers.items():
            path = path.replace(f"{{{part}:03d}}", f"{number:03d}").replace(f"{{{part}}}", str(number))
        for part, name in names.items():
            path = path.replace(f"{{{part}}}", name)
        return inside(folder, path, f"{INFO} {template}")

    return Place(
        int(row[EPISODE]),
        at_most(f"{EPISODES} episode {row[EPISODE]}", "length", int(row["length"]), MAX_ROWS),
        file("data_path", "data"),
        {
            camera: (
                file("video_path", f"videos/{camera}", video_key=camera),
                float(row[f"videos/{camera}/from_timestamp"]),
            )
            for camera in cameras
        },
    )


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
