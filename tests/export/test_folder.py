"""Exported folders: what is written is read back, by others too; what is damaged or hostile is refused."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from deepplan.errors import DocumentError, InvalidInputError
from deepplan.export.capture import capture
from deepplan.export.folder import read_folder, write_folder


class Model(nn.Module):
    """Tied, transposed, half-precision and boolean weights."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10)
        self.head.weight = self.embedding.weight
        self.transposed = nn.Parameter(torch.randn(4, 4).t())
        self.scale = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
        self.register_buffer("mask", torch.tensor([True, False, True, True]))

    def forward(self, tokens):
        x = self.embedding(tokens) @ self.transposed * self.scale * self.mask
        return {"logits": self.head(x), "hidden": x}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model().eval()


@pytest.fixture
def tokens():
    return torch.tensor([[1, 2, 3]])


@pytest.fixture
def folder(model, tokens, tmp_path):
    captured = capture(model, (tokens,))
    write_folder(tmp_path / "model", captured.graph, captured.storages, name="mine", dtype="fp32", batch_size=4)
    return tmp_path / "model"


def test_a_folder_is_read_back(folder, model, tokens, interpret):
    read = read_folder(folder)
    assert (read.name, read.dtype, read.batch_size) == ("mine", "fp32", 4)
    with torch.no_grad():
        expected = model(tokens)
    actual = interpret(read.captured)(tokens)
    assert list(actual) == ["logits", "hidden"]
    assert torch.equal(actual["logits"], expected["logits"])


def test_the_weights_are_readable_by_others(folder, model):
    entries = load_file(folder / "weights.safetensors")
    assert torch.equal(entries["head.weight"], model.embedding.weight)
    assert torch.equal(entries["scale"], model.scale) and entries["scale"].dtype == torch.bfloat16
    assert entries["transposed"].dtype == torch.uint8
    assert "embedding.weight" not in entries  # the exporter keeps one name of a tied weight


def test_all_files_may_be_read_by_whom_others_may(folder):
    modes = {(folder / name).stat().st_mode for name in ("graph.json", "weights.safetensors")}
    assert len(modes) == 1


def test_nothing_partial_is_left(folder):
    assert sorted(os.listdir(folder)) == ["graph.json", "weights.safetensors"]


def test_a_folder_can_be_written_again_over_another_model(folder, tokens):
    (folder / "plan.json").write_text("{}")
    captured = capture(nn.Embedding(10, 2).eval(), (tokens,))
    write_folder(folder, captured.graph, captured.storages)
    assert read_folder(folder).captured.graph == captured.graph
    assert not (folder / "plan.json").exists()


def test_a_folder_that_cannot_be_written_is_one_error(folder, model, tokens):
    captured = capture(model, (tokens,))
    with pytest.raises(InvalidInputError, match="cannot write"):
        write_folder(folder / "graph.json" / "inside", captured.graph, captured.storages)


@pytest.mark.parametrize("file", ["graph.json", "weights.safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(folder, file, keep):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DocumentError, match=file):
        read_folder(folder)


@pytest.mark.parametrize("file", ["graph.json", "weights.safetensors"])
def test_a_missing_file_is_refused(folder, file):
    (folder / file).unlink()
    with pytest.raises(DocumentError, match=file):
        read_folder(folder)


def test_an_edited_graph_is_refused(folder):
    text = (folder / "graph.json").read_text()
    (folder / "graph.json").write_text(text.replace("aten::matmul", "aten::linear"))
    with pytest.raises(DocumentError, match="was not written with this"):
        read_folder(folder)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("operator", ["aten::from_file", "aten::_reshape_alias", "aten::set_"])
def test_an_operator_that_looks_outside_the_graph_is_refused(folder, operator, trust):
    text = (folder / "graph.json").read_text()
    (folder / "graph.json").write_text(text.replace("aten::matmul", operator))
    with pytest.raises(DocumentError, match=f"call {operator}"):
        read_folder(folder, trust=trust)


@pytest.mark.parametrize(
    "operator",
    [
        "inductor::_reinterpret_tensor",
        "debugprims::load_tensor",
        "aten::_sparse_coo_tensor_unsafe",
        "aten::sparse_coo_tensor",
        "aten::segment_reduce",
        "aten::max_pool2d_with_indices_backward",
        "aten::_convert_indices_from_csr_to_coo",
    ],
)
def test_an_operator_that_may_do_harm_is_refused(folder, operator):
    text = (folder / "graph.json").read_text()
    (folder / "graph.json").write_text(text.replace("aten::matmul", operator))
    with pytest.raises(DocumentError, match=f"{operator}.*trust=True"):
        read_folder(folder)


@pytest.fixture
def twice():
    """A user's operator, of a library of their own."""
    with torch.library._scoped_library("deepplan_folder_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
        yield torch.ops.deepplan_folder_test.twice


def test_a_trusted_folder_may_call_a_users_operator(twice, tmp_path, interpret):
    class Doubling(nn.Module):
        def forward(self, x):
            return twice(x)

    captured = capture(Doubling().eval(), (torch.ones(2),))  # our own capture needs no trust
    write_folder(tmp_path, captured.graph, captured.storages)
    with pytest.raises(DocumentError, match=r"deepplan_folder_test::twice.*trust=True"):
        read_folder(tmp_path)
    read = read_folder(tmp_path, trust=True)
    assert interpret(read.captured)(torch.ones(2)).tolist() == [2.0, 2.0]


def test_a_graph_with_another_number_of_outputs_is_refused(folder):
    data = json.loads((folder / "graph.json").read_text())
    data["outputs"] = data["outputs"][:1]
    (folder / "graph.json").write_text(json.dumps(data))
    with pytest.raises(DocumentError, match="nested for 2"):
        read_folder(folder)


def test_weights_that_are_a_pickle_are_never_unpickled(folder, tmp_path):
    class Touch:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (folder / "weights.safetensors").write_bytes(pickle.dumps(Touch()))
    with pytest.raises(DocumentError):
        read_folder(folder)
    assert not (tmp_path / "ran").exists()
