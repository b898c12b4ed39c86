from __future__ import annotations

import numpy as np
import pytest

from deepplan.client.inputs import make_inputs
from deepplan.errors import InvalidInputError
from deepplan.serving.inference import ITEM_SIZE_BYTES, ModelMetadata, TensorData, TensorSpec


def make(datatype: str, shape: tuple[int, ...] = (64, 64), seed: int = 0) -> TensorData:
    (tensor,) = make_inputs(ModelMetadata("m", (TensorSpec("x", datatype, shape),), ()), seed=seed)
    return tensor


@pytest.mark.parametrize("datatype", ITEM_SIZE_BYTES)
def test_every_type_has_its_size_and_the_same_seed_the_same_data(datatype: str) -> None:
    tensor = make(datatype, (3, 5))
    assert (tensor.name, tensor.datatype, tensor.shape) == ("x", datatype, (3, 5))
    assert len(tensor.data) == 15 * ITEM_SIZE_BYTES[datatype]
    assert tensor == make(datatype, (3, 5))
    assert isinstance(tensor.data, bytes)


@pytest.mark.parametrize(("datatype", "below"), [("INT64", 1000), ("INT32", 1000), ("UINT8", 255), ("INT8", 127)])
def test_integers_are_small_and_many(datatype: str, below: int) -> None:
    dtype = f"<{'u' if datatype[0] == 'U' else 'i'}{ITEM_SIZE_BYTES[datatype]}"
    values = np.frombuffer(make(datatype).data, dtype)
    assert values.min() >= 0 and values.max() < below
    assert len(np.unique(values)) > below / 2


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BF16"])
def test_floats_are_normal(datatype: str) -> None:
    data = make(datatype).data
    if datatype == "BF16":
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        values = np.frombuffer(data, f"<f{ITEM_SIZE_BYTES[datatype]}")
    assert abs(values.mean()) < 0.1 and abs(values.std() - 1) < 0.1


def test_masks_are_true_and_open_dimensions_one() -> None:
    tensor = make("BOOL", (-1, 3))
    assert (tensor.shape, tensor.data) == ((1, 3), b"\1\1\1")


def test_another_seed_and_no_size() -> None:
    assert make("FP32", seed=1) != make("FP32", seed=2)
    with pytest.raises(InvalidInputError, match="x as BYTES"):
        make("BYTES")


@pytest.mark.parametrize("shape", [(2, -5), (1 << 40,), (1 << 62, 1 << 62), (1,) * 70])
def test_no_server_makes_it_run_out_of_memory(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match=r"x of shape .*cannot be made up"):
        make("FP32", shape)
