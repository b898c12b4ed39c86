import json
import math

import pytest

from deepplan.errors import DocumentError
from deepplan.export.arguments import Device, DType, Layout, MemoryFormat, Slot, WeightRef, decode, encode

EVERY_KIND = (
    None,
    True,
    3,
    -(2**63),
    0.5,
    1.0,
    math.inf,
    -math.inf,
    1 + 2j,
    complex(0.0, math.inf),
    "mean",
    Slot(4),
    WeightRef(2),
    DType("bfloat16"),
    Device("target"),
    MemoryFormat("channels_last"),
    Layout("strided"),
    (Slot(1), (2, None)),
    (),
)


@pytest.mark.parametrize("value", EVERY_KIND)
def test_an_argument_survives_json(value):
    read = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
    assert read == value and type(read) is type(value)


def test_nan_survives_json():
    assert math.isnan(decode(json.loads(json.dumps(encode(math.nan), allow_nan=False))))


@pytest.mark.parametrize(
    "data",
    [
        2**63,
        {"slot": -1},
        {"slot": True},
        {"slot": 1, "weight": 1},
        {"dtype": "float33"},
        {"device": "cuda:0"},
        {"memory_format": "strided"},
        {"layout": ["strided"]},
        {"float": "1"},
        {"complex": [1.0]},
        {"complex": [1, 2]},
        {"pickle": "gASV"},
        {},
        [[[[[[[[[[1]]]]]]]]]],
    ],
)
def test_what_is_no_argument_is_refused(data):
    with pytest.raises(DocumentError):
        decode(data)
