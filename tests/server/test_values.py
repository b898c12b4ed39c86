from __future__ import annotations

import math

import numpy as np
import pytest

from deepplan.errors import InvalidInputError
from deepplan.server.values import check_bools, decode, encode
from deepplan.serving.inference import TensorSpec

DTYPES = {
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
}


@pytest.mark.parametrize("datatype", DTYPES)
def test_whole_numbers_reach_both_ends_of_their_range_and_no_further(datatype: str) -> None:
    spec, limits = TensorSpec("x", datatype, (2,)), np.iinfo(DTYPES[datatype])
    ends = [int(limits.min), int(limits.max)]
    data = encode(spec, ends)
    assert data == np.array(ends, DTYPES[datatype]).tobytes()
    assert decode(datatype, data) == ends
    for beyond in (limits.min - 1, limits.max + 1):
        with pytest.raises(InvalidInputError, match=f"an element of input 'x' is .*{datatype}"):
            encode(spec, [0, int(beyond)])


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_floats_take_whole_numbers_nan_and_infinities(datatype: str) -> None:
    values = [1, -2.5, math.nan, math.inf, -math.inf, -0.0]
    answer = decode(datatype, encode(TensorSpec("x", datatype, (6,)), values))
    assert answer[:2] == [1.0, -2.5]
    assert math.isnan(answer[2])
    assert answer[3:5] == [math.inf, -math.inf]
    assert math.copysign(1, answer[5]) == -1


@pytest.mark.parametrize("number", [3.5e38, -1e300, 10**400])
def test_a_float_beyond_its_range_is_refused_and_not_made_infinite(number: float) -> None:
    with pytest.raises(InvalidInputError, match="beyond the range of FP32"):
        encode(TensorSpec("x", "FP32", (1,)), [number])


@pytest.mark.parametrize(
    ("datatype", "element"),
    [
        ("INT32", True),
        ("INT32", 1.0),
        ("INT32", math.nan),
        ("INT32", "1"),
        ("INT32", None),
        ("FP32", True),
        ("FP32", "1"),
        ("FP32", {}),
        ("BOOL", 1),
        ("BOOL", 0.0),
    ],
)
def test_an_element_of_another_type_is_refused_by_its_place(datatype: str, element: object) -> None:
    good = True if datatype == "BOOL" else 0
    with pytest.raises(InvalidInputError, match=f"element 1 of input 'x' is .*{datatype}"):
        encode(TensorSpec("x", datatype, (2,)), [good, element])


def test_data_is_flat_or_nested_by_its_shape() -> None:
    spec = TensorSpec("x", "INT32", (2, 1, 2))
    assert encode(spec, [1, 2, 3, 4]) == encode(spec, [[[1, 2]], [[3, 4]]])


@pytest.mark.parametrize(
    "data",
    [
        [],
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [[1, 2], [3, 4]],
        [[[1, 2], [3, 4]]],
        [[[1, 2]], [[3, 4, 5]]],
        [[[1, 2]], 3],
        [[[1, 2]], [[3, [4]]]],
        [[[[1, 2]]], [[[3, 4]]]],
        [1, [2], 3, 4],
    ],
)
def test_data_of_another_form_is_refused(data: list[object]) -> None:
    with pytest.raises(InvalidInputError, match="'x'"):
        encode(TensorSpec("x", "INT32", (2, 1, 2)), data)


def test_scalars_and_empty_tensors() -> None:
    assert encode(TensorSpec("x", "INT8", ()), [7]) == b"\x07"
    assert encode(TensorSpec("x", "INT8", (2, 0)), []) == encode(TensorSpec("x", "INT8", (2, 0)), [[], []]) == b""
    with pytest.raises(InvalidInputError):
        encode(TensorSpec("x", "INT8", ()), [[7]])


def test_nesting_costs_no_more_than_the_shape_is_deep() -> None:
    deep: list[object] = [0]
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidInputError):
        encode(TensorSpec("x", "INT8", (1,)), deep)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_has_no_text_form(datatype: str) -> None:
    with pytest.raises(InvalidInputError, match="binary data"):
        encode(TensorSpec("x", datatype, (1,)), [1.0])


def test_a_byte_that_is_no_bool_is_refused() -> None:
    spec = TensorSpec("x", "BOOL", (3,))
    check_bools(spec, memoryview(b"\0\1\1"))
    check_bools(spec, b"")
    with pytest.raises(InvalidInputError, match="other than 0 and 1"):
        check_bools(spec, b"\0\2\1")
