import math

import numpy as np
import pytest

from deepplan.errors import InvalidInputError
from deepplan.planning.profile import LayerProfile, LinkProfile


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, True, "1", None, 10**400, 1e13])
def test_numbers_that_are_no_durations_are_refused_by_field_and_value(value):
    with pytest.raises(InvalidInputError, match="execute_ms is "):
        LayerProfile("fc", "Linear", 1, 1.0, value, None)


@pytest.mark.parametrize("value", [-1, 1.0, True, "1", 2**54])
def test_numbers_that_are_no_sizes_are_refused(value):
    with pytest.raises(InvalidInputError, match="size_bytes is "):
        LayerProfile("fc", "Linear", value, 1.0, 1.0, None)


def test_a_bandwidth_of_zero_is_refused():
    with pytest.raises(InvalidInputError, match="bandwidth_gbps is 0"):
        LinkProfile(0.0, 0)


def test_text_must_be_text():
    with pytest.raises(InvalidInputError, match="name is 3; it must be text"):
        LayerProfile(3, "Linear", 1, 1.0, 1.0, None)


def test_numpy_numbers_become_plain_ones():
    layer = LayerProfile("fc", "Linear", np.int64(8), np.float32(1), np.float64(2), None)
    assert [type(value) for value in (layer.size_bytes, layer.load_ms, layer.execute_ms)] == [int, float, float]
