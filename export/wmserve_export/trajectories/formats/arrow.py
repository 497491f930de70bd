"""Numbers and images in columns of Arrow, as parquet files and Lance tables hold them."""

import numpy as np
import pyarrow as pa

from wmserve_export.trajectories.bounds import MAX_WIDTH, DataError, at_most
from wmserve_export.trajectories.formats.images import decode
from wmserve_export.trajectories.source import Floats, Frame


def is_number(kind: pa.DataType) -> bool:
    """Whether a column holds numbers, or lists of them."""
    while is_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether it holds lists of whatever."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_blob(kind: pa.DataType) -> bool:
    """Whether it holds encoded images: bytes, or those with a path beside them as Hugging Face's `Image` has it."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and is_blob(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def numbers(column: pa.Array, width: int, where: str) -> Floats:
    """A column of numbers or of lists of them -> `[rows, width]`; DataError where a row has none, or others."""
    at_most(where, "numbers in a row", width, MAX_WIDTH)
    rows = len(column)
    if column.null_count:
        raise DataError(f"{where}: {column.null_count} of {rows} rows have no value")
    if not is_number(column.type):
        raise DataError(f"{where}: must hold numbers, not {column.type}")
    while is_list(column.type):
        column = column.flatten()
    if len(column) != rows * width or column.null_count:
        raise DataError(f"{where}: must hold {width} numbers in each row; {rows} rows have {len(column)}")
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float32).reshape(rows, width)


def image(value: pa.Scalar, where: str) -> Frame:
    """A cell with an encoded image -> `[h, w, 3]`."""
    blob = value["bytes"] if pa.types.is_struct(value.type) else value
    content = blob.as_py()
    if content is None:
        raise DataError(f"{where}: there is no image")
    return decode(content, where)
