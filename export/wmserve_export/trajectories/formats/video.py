"""Frames of a video at given times: decoded one after the other, kept only where they are asked for."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np

from wmserve_export.trajectories.bounds import DataError, frame_size
from wmserve_export.trajectories.source import Frame

CONTAINERS = "mp4"
"""What is opened, whatever the file claims to be: MP4 and its relatives."""


def frames_at(file: Path, times: Sequence[float], tolerance: float, where: str) -> Iterator[tuple[int, Frame]]:
    """The frames nearest to ascending times, seconds, with their positions; DataError where one is missing.

    The file is handed over as bytes, so that nothing in it leads to other files or addresses.
    """
    try:
        with file.open("rb") as content, av.open(content, mode="r", format=CONTAINERS) as container:
            yield from decoded(container, times, tolerance, where)
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{where}: {file.name} cannot be decoded: {error}") from None


def decoded(
    container: "av.container.InputContainer", times: Sequence[float], tolerance: float, where: str
) -> Iterator[tuple[int, Frame]]:
    """From the key frame before the first time on."""
    if not container.streams.video:
        raise DataError(f"{where}: there is no video in it")
    stream = container.streams.video[0]
    frame_size(where, stream.codec_context.height, stream.codec_context.width)
    base = stream.time_base
    if base is None or not times:
        return
    container.seek(max(0, int((times[0] - tolerance) / base)), stream=stream)
    position = 0
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        time = float(frame.pts * base)
        if time > times[position] + tolerance:
            break
        if time < times[position] - tolerance:
            continue
        frame_size(where, frame.height, frame.width)
        yield position, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        position += 1
        if position == len(times):
            return
    raise DataError(f"{where}: there is no frame within {tolerance:.3g} s of {times[position]:.3f} s")
