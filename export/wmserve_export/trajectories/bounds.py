"""What a data set may cost. Everything in it was written by others: numbers are checked before memory is spent."""

MAX_EPISODES = 1_000_000
MAX_ROWS = 1_000_000
"""Of one episode."""
MAX_WIDTH = 4096
"""Numbers of one column in a row."""
MAX_KEYS = 4096
"""Cameras and columns."""
MAX_PIXELS = 1 << 24
"""Of one frame, such as 4096 x 4096."""
MAX_IMAGE_BYTES = 64 << 20
"""Of one encoded image, or of one message with an image in it."""
MAX_META_BYTES = 64 << 20
"""Of one file that describes others."""
MAX_BLOCK_BYTES = 512 << 20
"""Of what a format unpacks at once: a chunk, a row group."""
MAX_EPISODE_BYTES = 2 << 30
"""Of the frames of one trajectory."""


class DataError(ValueError):
    """A data set, or an episode of it, that cannot be read as asked; the message says what to do."""


def at_most(where: str, what: str, value: int, limit: int) -> int:
    """`value`, if it is not over the limit and not negative; DataError otherwise."""
    if not 0 <= value <= limit:
        raise DataError(f"{where}: {what} must be from 0 to {limit}, not {value}")
    return value


def frame_size(where: str, height: int, width: int) -> None:
    """DataError unless a frame of this size may be decoded."""
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise DataError(f"{where}: a frame must have from 1 to {MAX_PIXELS} pixels, not {width} x {height}")
