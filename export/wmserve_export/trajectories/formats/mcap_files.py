"""MCAP recordings, one episode a file: images and numbers of topics, brought to one clock.

Read are messages in JSON, Protobuf and ROS 2's CDR (schemas in ros2msg); files with chunks and an index, as every
recorder writes them, without compression or with lz4 or zstd. Images are foxglove.CompressedImage and
sensor_msgs/CompressedImage (JPEG, PNG, WebP), foxglove.RawImage and sensor_msgs/Image (rgb8, bgr8, rgba8, bgra8,
mono8), in each of these encodings; in JSON their `data` is base64. Not read: ROS 1, CompressedVideo, attachments.

A camera is a topic. A column is a topic and the path of numbers in its messages: /cmd.linear.x, /action.data. Rows are
moments of a clock, `rate` in a second, from when all have spoken until the first falls silent. At each moment counts
the last message so far of each topic: what a robot knows then. A row whose message is older than that topic's usual
pause by MAX_AGE is an error: the recording has a hole.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmserve_export.trajectories.bounds import MAX_EPISODES, MAX_KEYS, MAX_ROWS, DataError, at_most
from wmserve_export.trajectories.formats import Reading
from wmserve_export.trajectories.formats.mcap_fields import leaves, picture
from wmserve_export.trajectories.formats.mcap_messages import Messages, Spoken, opened
from wmserve_export.trajectories.source import Column, Floats, Frame, Recording

MAX_AGE = 5.0
"""Times the median pause of a topic."""
SECOND = 1_000_000_000


def files(dataset: Path) -> list[Path]:
    """The recordings that a path means, by name."""
    return [dataset] if dataset.is_file() and dataset.suffix == ".mcap" else sorted(dataset.glob("*.mcap"))


def recognises(dataset: Path) -> bool:
    """A recording, or a folder with some."""
    return bool(files(dataset))


def open_source(dataset: Path, reading: Reading) -> "McapFiles":
    """Open all recordings; topics are those of the first."""
    found = files(dataset)
    if not found:
        raise DataError(f"there are no .mcap files in {dataset}")
    at_most(dataset.name, "episodes", len(found), MAX_EPISODES)
    return McapFiles(found, reading)


class McapFiles:
    """Fits `Source`."""

    kind = "mcap"

    def __init__(self, found: Sequence[Path], reading: Reading) -> None:
        self._files, self._reading = found, reading
        self.rate = reading.rate
        self.episodes: Sequence[str] = [file.stem for file in found]
        with opened(found[0]) as messages:
            self.cameras = tuple(topic for topic in messages.topics if messages.has_images(topic))

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        """Numbers in the first message of each topic of the first recording."""
        found: dict[str, Column] = {}
        with opened(self._files[0]) as messages:
            waiting = set(messages.topics) - set(self.cameras)
            for record in messages.records(waiting):
                topic = messages.topic(record)
                if topic in waiting and messages.can_decode(record):
                    for path, values in leaves(messages.decoded(record)):
                        found[f"{topic}.{path}" if path else topic] = Column(len(values))
                        at_most(self._files[0].name, "columns", len(found), MAX_KEYS)
                waiting.discard(topic)
                if not waiting:
                    break
        return found

    @contextmanager
    def open(self, episode: int, camera: str | None, columns: Collection[str]) -> Iterator[Recording]:
        """Read all numbers and the times of images; images when they are asked for."""
        where = self._files[episode].name
        paths = {key: self._split(key) for key in columns}
        with opened(self._files[episode]) as messages:
            topics = {topic for topic, _ in paths.values()} | ({camera} if camera is not None else set())
            if missing := sorted(topics - set(messages.topics)):
                raise DataError(f"{where}: there is no topic {missing[0]}; there: {', '.join(messages.topics)}")
            timing = None if self._reading.timing is None else self._split(self._reading.timing)[0]
            wanted: dict[str, set[str]] = {topic: set() for topic in (*topics, *([timing] if timing else []))}
            for topic, path in paths.values():
                wanted[topic].add(path)
            spoken = messages.gather(wanted, camera, self._reading.clock)
            for topic in wanted:
                if not len(spoken[topic].times):
                    raise DataError(f"{where}: topic {topic} has no messages")
            ticks = clock(spoken, self._reading.rate, timing, where)
            yield Ticks(messages, where, ticks, camera, paths, spoken)

    def _split(self, key: str) -> tuple[str, str]:
        """Topic and path of a column."""
        with opened(self._files[0]) as messages:
            for topic in sorted(messages.topics, key=len, reverse=True):
                if key == topic or key.startswith(f"{topic}."):
                    return topic, key[len(topic) + 1 :]
        raise DataError(f"{self._files[0].name}: there is no topic in {key}")


@dataclass(frozen=True)
class Ticks:
    """Fits `Recording`; rows are moments of the clock."""

    messages: Messages
    where: str
    ticks: NDArray[np.int64]
    camera: str | None
    paths: Mapping[str, tuple[str, str]]
    spoken: Mapping[str, Spoken]

    @property
    def rows(self) -> int:
        """Moments."""
        return len(self.ticks)

    def frames(self, rows: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """Of the camera, in the order in which they lie in the file."""
        at = self._last(str(self.camera), self.ticks[list(rows)])
        places = self.spoken[str(self.camera)].values
        wanted: dict[tuple[int, int], list[int]] = {}
        for position, message in enumerate(at):
            wanted.setdefault(places[message], []).append(position)
        for record in self.messages.at(sorted(wanted)):
            frame = picture(self.messages.decoded(record[1]), f"{self.where} {self.camera}")
            for position in wanted[record[0]]:
                yield position, frame

    def column(self, key: str) -> Floats:
        """The last values so far at each moment."""
        topic, path = self.paths[key]
        at = self._last(topic, self.ticks)
        values = self.spoken[topic].values
        rows = {int(message): values[message][path] for message in np.unique(at)}
        if len({len(row) for row in rows.values()}) > 1:
            raise DataError(f"{self.where} {key}: must have as many numbers in each message")
        return np.asarray([rows[int(message)] for message in at], np.float32).reshape(len(at), -1)

    def _last(self, topic: str, moments: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which message was the last so far; DataError where it is too old."""
        times = self.spoken[topic].times
        at = np.searchsorted(times, moments, side="right") - 1
        pause = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        age = moments - times[at]
        if len(age) and age.max() > MAX_AGE * max(pause, 1):
            late = int(age.argmax())
            raise DataError(
                f"{self.where}: {topic} has a hole: its last message was {age[late] / SECOND:.3f} s old at "
                f"{(moments[late] - self.ticks[0]) / SECOND:.3f} s; it usually speaks each {pause / SECOND:.3f} s"
            )
        return at


def clock(spoken: Mapping[str, Spoken], rate: float | None, timing: str | None, where: str) -> NDArray[np.int64]:
    """Moments, ns, at which all topics have spoken and none has ended."""
    first = max(int(one.times[0]) for one in spoken.values())
    last = min(int(one.times[-1]) for one in spoken.values())
    if rate is None:
        times = (
            spoken[timing].times if timing is not None else max(spoken.values(), key=lambda one: len(one.times)).times
        )
        pause = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        if pause <= 0:
            raise DataError(f"{where}: how many rows in a second cannot be told from its messages; say it with --rate")
    else:
        pause = SECOND / rate
    count = at_most(where, "rows", max(0, int((last - first) / pause) + 1), MAX_ROWS)
    return first + np.round(np.arange(count) * pause).astype(np.int64)
