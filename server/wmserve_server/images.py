"""Decodes PNG and JPEG files into frames; the header's size is checked before a pixel is unpacked."""

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError
from wmserve.world import ObservationSpec

from wmserve_server.backend import Frames
from wmserve_server.errors import InvalidArgument, PayloadTooLarge

FORMATS = ("PNG", "JPEG")


def decode(files: tuple[bytes, ...], spec: ObservationSpec, field: str) -> Frames:
    """Decode files of equal size to frames `[T, h, w, 3]` uint8, RGB; alpha and orientation tags are dropped."""
    frames = [decode_one(file, spec, f"{field}.images[{index}]") for index, file in enumerate(files)]
    if any(frame.shape != frames[0].shape for frame in frames):
        raise InvalidArgument("images must be of equal size", field=f"{field}.images")
    return np.stack(frames)


def decode_one(file: bytes, spec: ObservationSpec, field: str) -> Frames:
    """Decode one file to a frame `[h, w, 3]` uint8."""
    try:
        # Pillow warns of large images; here a large image is an error anyway, with a bound of our own.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(file), formats=FORMATS)
        width, height = image.size
        check_size(height, width, spec, field)
        return np.asarray(image.convert("RGB"))
    except Image.DecompressionBombError:
        raise PayloadTooLarge(f"image is larger than {spec.max_width}x{spec.max_height} pixels", field=field) from None
    except UnidentifiedImageError:
        raise InvalidArgument("is neither a PNG nor a JPEG file", field=field) from None
    except (OSError, ValueError, SyntaxError, EOFError):  # what Pillow raises for damaged files
        raise InvalidArgument("image file is damaged or truncated", field=field) from None


def check_size(height: int, width: int, spec: ObservationSpec, field: str) -> None:
    """Refuse frames that are empty or larger than the world takes."""
    if height < 1 or width < 1:
        raise InvalidArgument("frames must have at least one pixel", field=field)
    if height > spec.max_height or width > spec.max_width:
        raise PayloadTooLarge(
            f"frame is {width}x{height} pixels, at most {spec.max_width}x{spec.max_height} are allowed", field=field
        )
