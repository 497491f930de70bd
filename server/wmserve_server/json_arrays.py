"""Arrays in JSON: nested lists where they are small, or ``{"dtype", "shape", "data"}`` with base64 where they are not.

Lists are taken as they are written; what a field means (width, bounds, finite values) is checked by the core.
"""

import base64
import binascii
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator, SerializationInfo, WithJsonSchema
from wmserve.arrays import NAMES, ArrayError, from_bytes

AnyArray = NDArray[np.generic]
LIST_ARRAYS = "list"
BASE64_ARRAYS = "base64"


def parse(value: object) -> AnyArray:
    """Read a nested list or an encoded array; numpy arrays pass (the other edge has decoded them)."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, dict):
        return parse_encoded(value)
    if isinstance(value, list):
        return parse_list(value)
    raise ValueError("must be a nested list of numbers, or an object with dtype, shape and base64 data")


def parse_list(value: list[object]) -> AnyArray:
    """Read a nested list of numbers; ragged lists, strings, nulls and huge integers are refused."""
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        raise ValueError("must be a nested list of numbers with rows of equal length") from None
    if array.size == 0 and array.dtype == np.float64:
        return array
    if array.dtype.kind not in "iuf":
        raise ValueError("must hold numbers only")
    return array


def parse_encoded(value: dict[str, Any]) -> AnyArray:
    """Read ``{"dtype": "float32", "shape": [2, 3], "data": "<base64>"}``."""
    if set(value) != {"dtype", "shape", "data"}:
        raise ValueError("an encoded array has exactly dtype, shape and data")
    dtype, shape, data = value["dtype"], value["shape"], value["data"]
    if not isinstance(dtype, str) or dtype not in NAMES:
        raise ValueError(f"dtype must be one of {', '.join(NAMES)}")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise ValueError("shape must be a list of integers")
    try:
        return from_bytes(decode_base64(data), NAMES[dtype], tuple(shape))
    except ArrayError as error:
        raise ValueError(str(error)) from None


def decode_base64(value: object) -> bytes:
    """Decode strict base64."""
    if not isinstance(value, str):
        raise ValueError("must be a base64 string")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not valid base64") from None


def dump(array: AnyArray, info: SerializationInfo) -> Any:
    """Write nested lists, or base64 when the serialisation context asks for it."""
    if info.context == BASE64_ARRAYS:
        dtype = array.dtype.newbyteorder("<")
        data = base64.b64encode(array.astype(dtype, copy=False).tobytes()).decode()
        return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}
    return array.tolist()


ARRAY_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"type": "array", "description": "Nested list of numbers, for small arrays.", "items": {}},
        {
            "type": "object",
            "description": "Base64 of the little-endian elements in C order, for large arrays.",
            "properties": {
                "dtype": {"type": "string", "enum": list(NAMES)},
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                "data": {"type": "string", "contentEncoding": "base64"},
            },
            "required": ["dtype", "shape", "data"],
            "additionalProperties": False,
        },
    ]
}

Array = Annotated[
    AnyArray,
    PlainValidator(parse),
    PlainSerializer(dump),
    WithJsonSchema(ARRAY_SCHEMA),
]
