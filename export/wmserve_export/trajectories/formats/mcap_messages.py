"""Messages of an MCAP file, chunk by chunk: none is unpacked to more than it may hold, none kept without need."""

import dataclasses
import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import zstandard
from google.protobuf.message import DecodeError
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, ChunkIndex, Schema
from mcap.records import Message as Record
from mcap.stream_reader import breakup_chunk
from mcap.summary import Summary
from mcap_protobuf.decoder import DecoderFactory as Protobuf
from mcap_ros2.decoder import DecoderFactory as Ros2
from numpy.typing import NDArray

from wmserve_export.trajectories.bounds import MAX_BLOCK_BYTES, MAX_IMAGE_BYTES, MAX_KEYS, DataError, at_most
from wmserve_export.trajectories.formats import Clock
from wmserve_export.trajectories.formats.mcap_fields import leaf, own_time

IMAGES = re.compile(r"(foxglove\.|sensor_msgs/(msg/)?)(Compressed|Raw)?Image")
"""Names of schemas with images."""
MAX_MESSAGES, MAX_NUMBERS = 4_000_000, 1 << 26
BROKEN = (McapError, DecodeError, OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zstandard.ZstdError)
"""What the readers raise for files that are damaged or lie about themselves."""


@dataclass(frozen=True)
class Spoken:
    """What a topic said: times in ascending order, ns, and of each message its numbers by path, or where it lies."""

    times: NDArray[np.int64]
    values: Sequence[Any]


@contextmanager
def opened(file: Path) -> Iterator["Messages"]:
    """A recording with its index; DataError where it has none, or is damaged."""
    try:
        with file.open("rb") as content:
            summary = SeekingReader(content, record_size_limit=MAX_BLOCK_BYTES).get_summary()
            if summary is None or not summary.chunk_indexes:
                raise DataError(f"{file.name}: has no index of chunks; write it anew, such as with: mcap recover")
            yield Messages(content, summary, file.name)
    except DataError:
        raise
    except BROKEN as error:
        raise DataError(f"{file.name} cannot be read as MCAP: {type(error).__name__}: {error}") from None


class Messages:
    """Messages of one recording."""

    def __init__(self, content: io.BufferedReader, summary: Summary, where: str) -> None:
        self._content, self._summary, self.where = content, summary, where
        at_most(where, "topics", len(summary.channels), MAX_KEYS)
        self._chunks = sorted(summary.chunk_indexes, key=lambda one: one.message_start_time)
        self._factories = (Protobuf(), Ros2())
        self._decoders: dict[int, Callable[[bytes], Any] | None] = {}
        self.topics = sorted({channel.topic for channel in summary.channels.values()})

    def has_images(self, topic: str) -> bool:
        """Whether the schema of a topic is one of images."""
        return any(
            schema is not None and IMAGES.fullmatch(schema.name)
            for channel in self._summary.channels.values()
            if channel.topic == topic
            for schema in [self._schema(channel)]
        )

    def topic(self, record: Record) -> str:
        """That of a message."""
        return self._summary.channels[record.channel_id].topic

    def _schema(self, channel: Channel) -> Schema | None:
        return self._summary.schemas.get(channel.schema_id)

    def _chunk(self, index: ChunkIndex) -> list[Record]:
        """Messages of a chunk, which is not unpacked to more than it may hold."""
        at_most(self.where, "bytes of a chunk", index.chunk_length, MAX_BLOCK_BYTES)
        self._content.seek(index.chunk_start_offset + 1 + 8)
        chunk = Chunk.read(ReadDataStream(self._content))
        data = unpacked(chunk, self.where)
        plain = dataclasses.replace(chunk, data=data, compression="")
        return [record for record in breakup_chunk(plain, validate_crc=True) if isinstance(record, Record)]

    def records(self, topics: Collection[str]) -> Iterator[Record]:
        """Messages of topics, chunk by chunk."""
        yield from (record for _, record in self._placed(topics))

    def _placed(self, topics: Collection[str]) -> Iterator[tuple[tuple[int, int], Record]]:
        """The same, each with its chunk and its place in there."""
        wanted = {number for number, channel in self._summary.channels.items() if channel.topic in topics}
        for chunk, index in enumerate(self._chunks):
            if index.message_index_offsets and not wanted & index.message_index_offsets.keys():
                continue
            for place, record in enumerate(self._chunk(index)):
                if record.channel_id in wanted:
                    yield (chunk, place), record

    def at(self, places: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], Record]]:
        """Messages at ascending places."""
        last, records = -1, list[Record]()
        for chunk, place in places:
            if chunk != last:
                last, records = chunk, self._chunk(self._chunks[chunk])
            yield (chunk, place), records[place]

    def gather(self, topics: Mapping[str, Collection[str]], camera: str | None, which: Clock) -> dict[str, Spoken]:
        """What topics said, by time: of the camera where its messages lie, of others the numbers under their paths."""
        found: dict[str, list[tuple[int, Any]]] = {topic: [] for topic in topics}
        count = numbers = 0
        for place, record in self._placed(topics):
            count = at_most(self.where, "messages", count + 1, MAX_MESSAGES)
            topic = self.topic(record)
            message = self.decoded(record) if which == "header" or topic != camera else None
            value: Any = place
            if topic != camera:
                value = {path: leaf(message, path, f"{self.where} {topic}") for path in topics[topic]}
                numbers = at_most(self.where, "numbers", numbers + sum(map(len, value.values())), MAX_NUMBERS)
            found[topic].append((self._time(record, message, which), value))
        ordered = {topic: sorted(said, key=lambda one: one[0]) for topic, said in found.items()}
        return {
            topic: Spoken(np.asarray([time for time, _ in said], np.int64), [value for _, value in said])
            for topic, said in ordered.items()
        }

    def _time(self, record: Record, message: Any, which: Clock) -> int:
        if which != "header":
            return int(record.log_time if which == "log" else record.publish_time)
        return own_time(message, f"{self.where} {self.topic(record)}")

    def can_decode(self, record: Record) -> bool:
        """Whether the encoding of a message is one that is read."""
        return self._decoder(record) is not None

    def decoded(self, record: Record) -> Any:
        """What a message holds."""
        at_most(self.where, "bytes of a message", len(record.data), 2 * MAX_IMAGE_BYTES)
        decoder = self._decoder(record)
        if decoder is None:
            encoding = self._summary.channels[record.channel_id].message_encoding
            raise DataError(
                f"{self.where}: {self.topic(record)} is encoded in {encoding!r}; read are json, protobuf, cdr (ROS 2)"
            )
        try:
            return decoder(record.data)
        except (*BROKEN, NotImplementedError, IndexError, RecursionError) as error:
            raise DataError(f"{self.where}: a message of {self.topic(record)} cannot be decoded: {error}") from None

    def _decoder(self, record: Record) -> Callable[[bytes], Any] | None:
        channel = self._summary.channels[record.channel_id]
        if channel.id not in self._decoders:
            found: Callable[[bytes], Any] | None = json.loads if channel.message_encoding == "json" else None
            for factory in self._factories:
                found = found or factory.decoder_for(channel.message_encoding, self._schema(channel))
            self._decoders[channel.id] = found
        return self._decoders[channel.id]


def unpacked(chunk: Chunk, where: str) -> bytes:
    """Content of a chunk; DataError where there is more than it says, or may be."""
    size = at_most(where, "bytes of a chunk", chunk.uncompressed_size, MAX_BLOCK_BYTES)
    if chunk.compression == "zstd":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(chunk.data)).read(size + 1)
    elif chunk.compression == "lz4":
        data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
    elif chunk.compression:
        raise DataError(f"{where}: chunks must be packed with zstd or lz4, not {chunk.compression!r}")
    else:
        data = chunk.data
    if len(data) != size:
        raise DataError(f"{where}: a chunk must unpack to the {size} bytes that it says")
    return bytes(data)
