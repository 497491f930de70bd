"""Frames of a trajectory in one array, which is not made before its size is known."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wmserve_export.trajectories.bounds import MAX_EPISODE_BYTES, DataError, at_most
from wmserve_export.trajectories.source import Frame


def stacked(
    frames: Iterator[tuple[int, Frame]],
    count: int,
    resize: tuple[int, int] | None,
    largest: tuple[int, int] | None,
    where: str,
) -> NDArray[np.uint8]:
    """Frames of equal size `[count, h, w, 3]`; DataError before they take more memory than an episode may."""
    found: NDArray[np.uint8] | None = None
    for position, frame in frames:
        if resize is not None:
            frame = np.asarray(Image.fromarray(frame).resize(resize, Image.Resampling.BILINEAR))
        if found is None:
            if largest is not None and (frame.shape[0] > largest[0] or frame.shape[1] > largest[1]):
                raise DataError(
                    f"{where}: frames are {frame.shape[1]} x {frame.shape[0]}, and the world takes {largest[1]} x "
                    f"{largest[0]} at most; reduce them with --resize as callers will have to"
                )
            at_most(f"{where} (--longest takes a part)", "bytes of frames", count * frame.nbytes, MAX_EPISODE_BYTES)
            found = np.zeros((count, *frame.shape), np.uint8)
        if frame.shape != found.shape[1:]:
            raise DataError(f"{where}: frames must be of one size, not {list(frame.shape)} and {list(found.shape[1:])}")
        found[position] = frame
    if found is None:
        raise DataError(f"{where}: has no frames")
    return found
