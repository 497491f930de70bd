"""Fields of messages, whatever they were encoded in: objects of JSON, of Protobuf, of ROS 2."""

import base64
import binascii
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from google.protobuf.message import Message

from wmserve_export.trajectories.bounds import MAX_IMAGE_BYTES, MAX_WIDTH, DataError, at_most, frame_size
from wmserve_export.trajectories.formats.images import decode, rgb
from wmserve_export.trajectories.source import Frame

CHANNELS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0), "mono8": (0, 0, 0)}
"""Where red, green and blue stand in a pixel."""
PIXEL = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
SECONDS, PARTS = ("sec", "secs", "seconds"), ("nanosec", "nsec", "nsecs", "nanos")
"""Names of a time's fields."""


def part(message: Any, name: str) -> Any:
    """A field of a message; None where it has none."""
    if isinstance(message, Mapping):
        return message.get(name)
    if isinstance(message, Message):
        return getattr(message, name, None) if name in message.DESCRIPTOR.fields_by_name else None
    return getattr(message, name, None) if name in getattr(type(message), "__slots__", ()) else None


def fields(message: Any) -> Collection[str]:
    """Names of its fields."""
    if isinstance(message, Mapping):
        return [str(name) for name in message]
    if isinstance(message, Message):
        return [str(name) for name in message.DESCRIPTOR.fields_by_name]
    return list(getattr(type(message), "__slots__", ()))


def vector(value: Any) -> list[float] | None:
    """Numbers, if a value is one or a list of them."""
    if isinstance(value, int | float):
        return [float(value)]
    if isinstance(value, str | bytes | bytearray | memoryview | Mapping) or not hasattr(value, "__len__"):
        return None
    if isinstance(value, Message) or len(value) > MAX_WIDTH or not hasattr(value, "__getitem__"):
        return None
    numbers = [value[index] for index in range(len(value))]
    if not numbers or not all(isinstance(number, int | float | np.number) for number in numbers):
        return None
    return [float(number) for number in numbers]


def leaves(message: Any, prefix: str = "", depth: int = 6) -> Iterator[tuple[str, list[float]]]:
    """Numbers in a message and in the messages in it, by path; not those of times."""
    if (found := vector(message)) is not None:
        yield prefix, found
    elif depth:
        for name in fields(message):
            if name not in ("header", "timestamp", "stamp"):
                yield from leaves(part(message, name), f"{prefix}.{name}" if prefix else name, depth - 1)


def leaf(message: Any, path: str, where: str) -> list[float]:
    """Numbers under a path; DataError where there are none."""
    for name in path.split(".") if path else ():
        message = part(message, name)
    found = vector(message)
    if found is None:
        raise DataError(f"{where}: must be a number or a list of them in each message")
    return found


def picture(message: Any, where: str) -> Frame:
    """The frame of a message with an image."""
    data = part(message, "data")
    if isinstance(data, str):
        at_most(where, "characters of an image", len(data), 2 * MAX_IMAGE_BYTES)
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise DataError(f"{where}: data must be base64: {error}") from None
    elif data is not None:
        data = bytes(data)
    if data is None:
        raise DataError(f"{where}: a message has no data")
    if part(message, "width") is None:
        return decode(data, where)
    width, height, step = (whole(message, name, where) for name in ("width", "height", "step"))
    encoding = str(part(message, "encoding"))
    if encoding not in PIXEL:
        raise DataError(f"{where}: encoding must be one of {', '.join(PIXEL)}, not {encoding!r}")
    frame_size(where, height, width)
    size = PIXEL[encoding]
    if step < width * size or len(data) < step * height:
        raise DataError(f"{where}: {height} lines of {step} bytes do not hold {width} pixels each; {len(data)} bytes")
    lines = np.frombuffer(data, np.uint8, step * height).reshape(height, step)[:, : width * size]
    return rgb(lines.reshape(height, width, size)[..., list(CHANNELS[encoding])], where)


def whole(message: Any, name: str, where: str) -> int:
    """A whole number of a message."""
    value = part(message, name)
    if not isinstance(value, int):
        raise DataError(f"{where}: {name} must be a whole number, not {value!r}")
    return at_most(where, name, value, 1 << 30)


def own_time(message: Any, where: str) -> int:
    """The time that a message itself tells, ns: `header.stamp` or `timestamp`."""
    header = part(message, "header")
    stamp = part(message, "timestamp") if header is None else part(header, "stamp")
    seconds, parts = (
        next((part(stamp, name) for name in names if part(stamp, name) is not None), 0) for names in (SECONDS, PARTS)
    )
    if stamp is None or not isinstance(seconds, int) or not isinstance(parts, int):
        raise DataError(f"{where}: messages have no time of their own, seconds and nanoseconds; use --clock log")
    return seconds * 1_000_000_000 + parts
