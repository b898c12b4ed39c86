import math
from typing import get_args

import pytest

from deepplan.engine import precision
from deepplan.errors import InvalidInputError
from deepplan.serving.deployment import Deployment, DtypeName, ServedSource


def test_instances_are_numbered_where_there_is_a_count() -> None:
    models = (ServedSource("resnet50", instances=2), ServedSource("/models/mine/"), ServedSource("gpt2", name="talker"))
    assert Deployment(models).instances() == ("resnet50-0", "resnet50-1", "mine", "talker")


def test_without_an_objective_nothing_is_refused() -> None:
    assert Deployment((ServedSource("gpt2"),)).scheduler_objective_ms == math.inf
    assert Deployment((ServedSource("gpt2"),), objective_ms=5).scheduler_objective_ms == 5


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"models": ()}, "no model to serve"),
        ({"devices": ()}, "no device to serve from"),
        ({"devices": ("0", "1", "2"), "pt": 2}, "pt=2: 3 devices"),
        ({"models": (ServedSource("a-0"), ServedSource("a", instances=1))}, "two models are named a-0"),
        ({"models": (ServedSource("a", instances=100_000), ServedSource("b"))}, "100001 instances"),
        ({"models": (ServedSource("a", instances=2**31),)}, "2147483648 instances"),
        ({"engine": "magic"}, "engine is 'magic'"),
        ({"objective_ms": 0}, "objective_ms is 0"),
        ({"gpu_memory_bytes": -1}, "gpu_memory_bytes is -1"),
    ],
)
def test_what_cannot_be_deployed_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        Deployment(**{"models": (ServedSource("gpt2"),), **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"batch_sizes": (2, 4)}, "batch_sizes is"),
        ({"batch_sizes": (1, 4, 4)}, "batch_sizes is"),
        ({"instances": 0}, "instances is 0"),
        ({"dtype": "float32"}, "dtype is 'float32'"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"name": ""}, "name is ''"),
    ],
)
def test_what_cannot_be_served_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        ServedSource("gpt2", **fields)  # type: ignore[arg-type]


def test_dtypes_are_those_there_are() -> None:
    assert get_args(DtypeName) == precision.NAMES
