"""Which bytes are a storage."""

import pytest
import torch
from torch import nn

from deepplan.errors import ExportError
from deepplan.export.weights import pack_weights


def as_dense(memory, weight):
    dtype = getattr(torch, weight.dtype)
    offset = memory.storage_offset() + weight.offset_bytes
    return torch.empty(0, dtype=dtype).set_(
        memory.untyped_storage(), offset // dtype.itemsize, weight.shape, weight.stride
    )


def packed_equals(tensors):
    packed = pack_weights(tensors)
    for weight in packed.weights:
        assert torch.equal(as_dense(packed.bytes[weight.storage], weight), tensors[weight.name])
    return packed


def test_ties_are_by_memory():
    weight = nn.Parameter(torch.randn(4, 4))
    packed = packed_equals({"a": weight, "b": weight, "c": weight.data.t(), "d": weight.data[1:3], "e": torch.ones(2)})
    assert [storage.name for storage in packed.storages] == ["a", "e"]
    assert [item.storage for item in packed.weights] == [0, 0, 0, 0, 1]
    assert packed.storages[0].size_bytes == 64


def test_only_bytes_in_use_count():
    table = torch.randn(100, 8)
    packed = packed_equals({"rows": table[10:20]})
    assert packed.storages[0].size_bytes == 10 * 8 * 4
    assert packed.bytes[0].data_ptr() == table[10:20].data_ptr()  # no copy


def test_parts_of_one_checkpoint_stay_apart():
    checkpoint = torch.arange(96, dtype=torch.uint8)
    packed = packed_equals(
        {"half": checkpoint[4:8].view(torch.float16), "single": checkpoint[32:64].view(torch.float32)}
    )
    assert [storage.size_bytes for storage in packed.storages] == [4, 32]


def test_views_of_different_dtypes_share():
    memory = torch.randn(8)
    packed = packed_equals({"bytes": memory.view(torch.uint8)[6:32], "floats": memory[2:]})
    assert len(packed.storages) == 1 and packed.storages[0].size_bytes == 28


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor(3), torch.zeros(0, 4), torch.ones(1, 3).expand(4, 3), torch.randn(2, 3, 4, 4).permute(0, 2, 3, 1)],
    ids=["a number", "nothing", "expanded", "permuted"],
)
def test_shapes_that_are_not_plain(tensor):
    packed_equals({"x": tensor})


def test_lazy_conjugates_are_carried_out():
    packed = pack_weights({"x": torch.tensor([1 + 2j]).conj()})
    assert as_dense(packed.bytes[0], packed.weights[0]).tolist() == [1 - 2j]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2, 2).to_sparse(),
        torch.zeros(2, device="meta"),
    ],
    ids=["sparse", "meta"],
)
def test_what_is_no_dense_tensor_is_refused_by_name(tensor):
    with pytest.raises(ExportError, match="'odd'"):
        pack_weights({"odd": tensor})


@pytest.mark.parametrize("weight", [torch.zeros(4, 4), torch.zeros(4, 4, dtype=torch.complex64).conj()])
def test_released_weights_are_refused_by_name(weight):
    weight.untyped_storage().resize_(0)
    with pytest.raises(ExportError, match=r"'fc\.weight' was released"):
        pack_weights({"fc.weight": weight})
