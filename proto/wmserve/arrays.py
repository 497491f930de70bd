"""The one codec between numpy arrays and ``Tensor`` messages: dtype, shape, little-endian bytes.

It knows nothing of worlds. Decoding shares the message's bytes (the array is read-only) and trusts none of
them: dtype, rank, dimensions and byte count must agree before an array exists.
"""

import math

import numpy as np
from numpy.typing import NDArray

from wmserve.v1 import world_model_pb2 as pb

MAX_RANK = 8

_DTYPES: dict[pb.DataType, np.dtype[np.generic]] = {
    pb.DATA_TYPE_UINT8: np.dtype("u1"),
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
    pb.DATA_TYPE_INT64: np.dtype("<i8"),
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_FLOAT64: np.dtype("<f8"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
NAMES = {np.dtype(dtype).name: dtype for dtype in _DTYPES.values()}
"""Names of the dtypes that travel, as numpy and the HTTP API spell them."""


class ArrayError(ValueError):
    """A tensor whose dtype, shape and bytes do not agree; the message says which and how."""


def to_tensor(array: NDArray[np.generic]) -> pb.Tensor:
    """Encode an array; other dtypes than the six that travel raise :class:`ArrayError`."""
    dtype = array.dtype.newbyteorder("<") if array.dtype.kind in "iuf" else array.dtype
    if dtype not in _CODES:
        raise ArrayError(f"dtype {array.dtype} cannot travel; send one of {', '.join(NAMES)}")
    return pb.Tensor(dtype=_CODES[dtype], shape=array.shape, data=array.astype(dtype, copy=False).tobytes())


def from_tensor(tensor: pb.Tensor) -> NDArray[np.generic]:
    """Decode a message without a copy; the array is read-only. Raises :class:`ArrayError`."""
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None:
        raise ArrayError(f"dtype is not one of {', '.join(NAMES)}")
    return from_bytes(tensor.data, dtype, tuple(tensor.shape))


def from_bytes(data: bytes, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
    """View little-endian ``data`` as ``shape``; every dimension is checked before numpy sees it."""
    if len(shape) > MAX_RANK:
        raise ArrayError(f"shape has {len(shape)} dimensions, at most {MAX_RANK} are allowed")
    if any(size < 0 for size in shape):
        raise ArrayError(f"shape {list(shape)} has a negative dimension")
    needed = math.prod(shape) * dtype.itemsize  # Python integers: no overflow to hide behind
    if needed != len(data):
        raise ArrayError(f"shape {list(shape)} of {dtype.name} needs {needed} bytes, data has {len(data)}")
    return np.frombuffer(data, dtype).reshape(shape)
