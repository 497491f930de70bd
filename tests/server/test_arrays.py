"""The array codecs, proto and JSON: what goes in comes out, and what cannot be right is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pydantic import TypeAdapter
from wmserve.arrays import MAX_RANK, NAMES, ArrayError, from_tensor, to_tensor
from wmserve.v1 import world_model_pb2 as pb
from wmserve_server.json_arrays import BASE64_ARRAYS, LIST_ARRAYS, Array, parse

ANY_ARRAY = st.sampled_from(sorted(NAMES)).flatmap(
    lambda name: arrays.arrays(NAMES[name], arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
ADAPTER: TypeAdapter[NDArray[np.generic]] = TypeAdapter(Array)


@given(ANY_ARRAY)
def test_tensor_round_trip(array: NDArray[np.generic]) -> None:
    """Every array survives the proto wire: dtype, shape and bytes, NaN and all."""
    message = pb.Tensor.FromString(to_tensor(array).SerializeToString())
    decoded = from_tensor(message)
    assert (decoded.dtype, decoded.shape, decoded.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(ANY_ARRAY)
def test_base64_round_trip(array: NDArray[np.generic]) -> None:
    """Every array survives JSON as base64."""
    decoded = parse(json.loads(ADAPTER.dump_json(array, context=BASE64_ARRAYS)))
    assert (decoded.dtype, decoded.shape, decoded.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(arrays.arrays(np.float32, arrays.array_shapes(max_side=4), elements=st.floats(-1e6, 1e6, width=32)))
def test_list_round_trip(array: NDArray[np.float32]) -> None:
    """Finite floats survive JSON as nested lists."""
    decoded = parse(json.loads(ADAPTER.dump_json(array, context=LIST_ARRAYS)))
    np.testing.assert_array_equal(decoded.astype(np.float32), array)


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=4)))
def test_views_are_encoded_as_what_they_show(array: NDArray[np.float32]) -> None:
    """A transposed or big-endian array is encoded by its values, not by its memory."""
    np.testing.assert_array_equal(from_tensor(to_tensor(array.T)), array.T)
    np.testing.assert_array_equal(from_tensor(to_tensor(array.astype(">f4"))), array)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=10), st.binary(max_size=64), st.integers(-5, 12))
def test_any_tensor_decodes_or_is_refused(shape: list[int], data: bytes, dtype: int) -> None:
    """Whatever a message claims, decoding returns an array of exactly that, or raises ArrayError."""
    message = pb.Tensor(dtype=dtype, shape=shape, data=data)  # type: ignore[arg-type]
    try:
        decoded = from_tensor(message)
    except ArrayError:
        return
    assert list(decoded.shape) == shape
    assert decoded.tobytes() == data


@pytest.mark.parametrize(
    ("shape", "data", "says"),
    [
        ([2, 2], b"\0" * 12, "needs 16 bytes, data has 12"),
        ([-1, 4], b"", "negative"),
        ([2**62, 4], b"", "needs"),
        ([0, 2**62], b"\0", "needs 0 bytes"),
        ([1] * (MAX_RANK + 1), b"\0" * 4, "dimensions"),
    ],
)
def test_refusals_say_what_is_wrong(shape: list[int], data: bytes, says: str) -> None:
    """An impossible shape is refused before any memory is taken for it, and the message says why."""
    with pytest.raises(ArrayError, match=says):
        from_tensor(pb.Tensor(dtype=pb.DATA_TYPE_FLOAT32, shape=shape, data=data))


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3]],
        ["1", "2"],
        [None],
        [True, False],
        [2**70],
        "AAAA",
        {"dtype": "float32", "shape": [1]},
        {"dtype": "object", "shape": [1], "data": "AAAA"},
        {"dtype": "float32", "shape": [1.0], "data": "AAAAAA=="},
        {"dtype": "float32", "shape": [True], "data": "AAAAAA=="},
        {"dtype": "float32", "shape": [1], "data": "not base64!"},
        {"dtype": "float32", "shape": [1], "data": "AAAAAA==", "more": 1},
    ],
)
def test_json_that_is_no_array_is_refused(value: object) -> None:
    """Ragged lists, strings, nulls, booleans, huge integers and malformed encodings are refused as values."""
    with pytest.raises(ValueError, match=r"must|array|base64|dtype"):
        parse(value)
