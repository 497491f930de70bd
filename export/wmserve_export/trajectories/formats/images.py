"""Decodes single images, whose headers are checked before any pixel is."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from wmserve_export.trajectories.bounds import MAX_IMAGE_BYTES, MAX_PIXELS, DataError, at_most, frame_size
from wmserve_export.trajectories.source import Frame

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def decode(content: bytes, where: str) -> Frame:
    """Encoded image -> `[h, w, 3]`; DataError names where it stands."""
    at_most(where, "bytes of an image", len(content), MAX_IMAGE_BYTES)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            frame_size(where, image.height, image.width)
            return np.asarray(image.convert("RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{where}: a frame must have from 1 to {MAX_PIXELS} pixels: {error}") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: an image must be one of {', '.join(FORMATS)}: {error}") from None


def rgb(frame: np.ndarray, where: str) -> Frame:
    """A frame as arrays hold it: `[h, w]`, `[h, w, 1]`, `[h, w, 3]` or `[3, h, w]` uint8 -> `[h, w, 3]`."""
    if frame.dtype != np.uint8:
        raise DataError(f"{where}: frames must be uint8, not {frame.dtype}")
    if frame.ndim == 2:
        frame = frame[..., None]
    if frame.ndim == 3 and frame.shape[-1] not in (1, 3) and frame.shape[0] in (1, 3):
        frame = frame.transpose(1, 2, 0)
    if frame.ndim != 3 or frame.shape[-1] not in (1, 3):
        raise DataError(f"{where}: frames must be [h, w, 3], not {list(frame.shape)}")
    frame_size(where, *frame.shape[:2])
    return np.ascontiguousarray(np.broadcast_to(frame, (*frame.shape[:2], 3)))
