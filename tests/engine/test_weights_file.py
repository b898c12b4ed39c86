from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deepplan import models
from deepplan.engine.weights_file import load_weights, weights_from
from deepplan.errors import DeepPlanError, DocumentError, InvalidInputError, MismatchError

Weights = dict[str, torch.Tensor]
SAVES: dict[str, Callable[[Weights, Path], None]] = {
    "w.safetensors": lambda weights, path: save_file({k: v.clone() for k, v in weights.items()}, path),
    "w.pt": torch.save,
    "legacy.pt": lambda weights, path: torch.save(weights, path, _use_new_zipfile_serialization=False),
}


class Tied(nn.Module):
    """An embedding whose table is an output head's as well, a norm and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.block = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.table.weight


def state(module: nn.Module) -> Weights:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def wanted() -> Weights:
    torch.manual_seed(1)
    return state(Tied())


@pytest.mark.parametrize("file", SAVES)
def test_every_format(file: str, wanted: Weights, tmp_path: Path) -> None:
    SAVES[file](wanted, tmp_path / file)
    module = Tied().requires_grad_(False)
    load_weights(module, os.fspath(tmp_path / file))
    assert same(state(module), wanted)
    assert module.head.weight is module.table.weight


@pytest.mark.parametrize("file", SAVES)
def test_the_name_of_a_file_does_not_matter(file: str, wanted: Weights, tmp_path: Path) -> None:
    SAVES[file](wanted, tmp_path / "w.bin")
    module = Tied()
    load_weights(module, tmp_path / "w.bin")
    assert same(state(module), wanted)


@pytest.mark.parametrize("prefix", ["module.", "bert.", "model.transformer."])
def test_a_common_prefix_on_either_side(prefix: str, wanted: Weights, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({prefix + name: tensor for name, tensor in wanted.items()} | {"cls.weight": torch.zeros(1)}, file)
    module = Tied()
    load_weights(module, file)
    assert same(state(module), wanted)

    save_file(wanted, file)
    outer: nn.Module = Tied()
    for name in reversed(prefix.removesuffix(".").split(".")):
        outer = nn.ModuleDict({name: outer})
    load_weights(outer, file)
    assert same(state(outer), {prefix + name: tensor for name, tensor in wanted.items()})


@pytest.mark.parametrize("left_out", ["table.weight", "head.weight", "norm.num_batches_tracked"])
def test_what_a_file_may_leave_out(left_out: str, wanted: Weights, tmp_path: Path) -> None:
    torch.save({"state_dict": {k: v for k, v in wanted.items() if k != left_out}, "epoch": 3}, tmp_path / "w.pt")
    module = Tied()
    load_weights(module, tmp_path / "w.pt")
    assert same(state(module), wanted)


def test_weights_are_cast(wanted: Weights, tmp_path: Path) -> None:
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in wanted.items()}
    torch.save(half, tmp_path / "w.pt")
    module = Tied()
    load_weights(module, tmp_path / "w.pt")
    assert module.table.weight.dtype == torch.float32
    assert torch.equal(module.table.weight, wanted["table.weight"].half().float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm.weight": None}, "norm.weight is missing"),
        ({"table.weight": None, "head.weight": None}, "table.weight is missing"),
        ({"extra.weight": torch.zeros(1)}, "extra.weight is not one of its weights"),
        ({"norm.bias": torch.zeros(4)}, r"norm.bias has shape \[4\] instead of \[3\]"),
        ({"norm.bias": torch.zeros(3, dtype=torch.int64)}, "norm.bias is of torch.int64"),
        ({"norm.num_batches_tracked": torch.tensor(1j)}, "num_batches_tracked is of torch.complex64"),
        ({"head.weight": torch.zeros(5, 3)}, "head.weight and table.weight are tied and differ"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(
    change: dict[str, Any], message: str, wanted: Weights, tmp_path: Path
) -> None:
    torch.save({k: v for k, v in {**wanted, **change}.items() if v is not None}, tmp_path / "w.pt")
    module = Tied()
    before = state(module)
    with pytest.raises(MismatchError, match=message):
        load_weights(module, tmp_path / "w.pt")
    assert same(state(module), before)


def test_only_the_first_problems_are_listed(tmp_path: Path) -> None:
    torch.save(state(nn.Linear(2, 2)), tmp_path / "w.pt")
    with pytest.raises(
        MismatchError, match=r"w.pt does not fit Tied: table.weight is missing; norm.weight is missing.* and 7 more"
    ):
        load_weights(Tied(), tmp_path / "w.pt")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("legacy", [False, True])
def test_no_code_of_a_file_is_run(legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": Evil()}, "w.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(DocumentError, match="more than tensors"):
        load_weights(Tied(), "w.pt")
    assert not Path("evil").exists()


@pytest.mark.parametrize("file", SAVES)
def test_truncated_files(file: str, wanted: Weights, tmp_path: Path) -> None:
    SAVES[file](wanted, tmp_path / file)
    whole = (tmp_path / file).read_bytes()
    module = Tied()
    before = state(module)
    for size in (0, 1, 9, len(whole) // 2, len(whole) - 1):
        (tmp_path / file).write_bytes(whole[:size])
        with pytest.raises(DocumentError, match=file):
            load_weights(module, tmp_path / file)
    assert same(state(module), before)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"cannot read .*none"):
        load_weights(Tied(), tmp_path / "none.pt")
    with pytest.raises(DocumentError, match="cannot read"):
        load_weights(Tied(), tmp_path)
    for content in ([torch.zeros(1)], {}, {"a": 1}, {3: torch.zeros(1)}, torch.zeros(1)):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(DocumentError, match=r"w\.pt"):
            load_weights(Tied(), tmp_path / "w.pt")
    for name in ("w.safetensors", "w.bin"):
        (tmp_path / name).write_text("resnet50: layers of weights\n" * 50)
        with pytest.raises(DeepPlanError, match=name):
            load_weights(Tied(), tmp_path / name)


def test_a_module_without_memory(wanted: Weights, tmp_path: Path) -> None:
    torch.save(wanted, tmp_path / "w.pt")
    with torch.device("meta"):
        module = Tied()
    with pytest.raises(InvalidInputError, match="to_empty"):
        load_weights(module, tmp_path / "w.pt")


def test_a_pretrained_head_and_old_names_are_left_out_of_bert(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4
    )
    pretrained = transformers.BertForPreTraining(config)
    weights = state(pretrained) | {"bert.embeddings.position_ids": torch.arange(512)[None]}
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights.items()
    }
    torch.save(old, tmp_path / "w.pt")
    module = transformers.BertModel(config)
    load_weights(module, tmp_path / "w.pt")
    assert same(state(module), state(pretrained.bert))


def test_the_zoo_takes_weights(tmp_path: Path) -> None:
    torch.save(weights := {k: v + 1 for k, v in models.build("resnet50").state_dict().items()}, tmp_path / "w.pt")
    assert same(state(models.build("resnet50", weights=tmp_path / "w.pt")), weights)
    with pytest.raises(MismatchError, match=r"layer1\.0\.conv1\.weight has shape"):
        models.build("resnext50", weights=tmp_path / "w.pt")


def test_a_module_without_memory_is_filled_from_the_file(wanted: Weights, tmp_path: Path) -> None:
    save_file({name: tensor for name, tensor in wanted.items() if name != "head.weight"}, tmp_path / "w.safetensors")
    module = Tied().requires_grad_(False)
    for block in module.block:
        block.to("meta")
    module.table.weight = module.head.weight = nn.Parameter(module.table.weight.to("meta"), False)
    module.fill_weight = weights_from(module, tmp_path / "w.safetensors")
    assert module.head.weight.is_meta  # nothing was made yet
    assert same(state(models.materialise(module)), wanted)
    with pytest.raises(MismatchError, match="norm"):
        save_file({"table.weight": wanted["table.weight"]}, tmp_path / "w.safetensors")
        weights_from(module, tmp_path / "w.safetensors")
