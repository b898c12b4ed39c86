"""What counts as a model, and what is remembered of one."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import deepplan
from deepplan.engine.source import resolve
from deepplan.errors import DocumentError, ExportError, InvalidInputError, MismatchError, UnknownNameError
from deepplan.export.folder import write_folder


def test_a_module_is_exported_once_until_it_changes(tiny: torch.nn.Module, ids: torch.Tensor) -> None:
    first = resolve(tiny, ids)
    assert resolve(tiny) is first  # its inputs are remembered with it
    assert resolve(tiny, ids[:1]) is not first
    again = resolve(tiny, ids)
    tiny.first.weight = torch.nn.Parameter(torch.zeros(256, 64))
    assert resolve(tiny) is not again


def test_a_part_that_was_exchanged_or_set_otherwise_is_seen() -> None:
    class Scaled(torch.nn.Module):
        scale = 1.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale

    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), Scaled()).eval()
    first = resolve(module, torch.zeros(1, 4))
    module[1] = torch.nn.GELU()
    exchanged = resolve(module)
    assert exchanged is not first
    module[2].scale = 3.0
    set_otherwise = resolve(module)
    assert set_otherwise is not exchanged
    module[1].eval()
    assert resolve(module) is not set_otherwise


def test_a_cast_copy_has_the_weights_of_now() -> None:
    module = torch.nn.Linear(4, 4, dtype=torch.float64).eval()
    x = torch.randn(1, 4, dtype=torch.float64)
    plan = deepplan.plan(module, x, devices="host:0", dtype="fp32")
    with torch.no_grad():
        module.weight.zero_()
        module.bias.fill_(2)
    session = deepplan.load(module, plan)
    assert session(x.float()).tolist() == [[2.0] * 4]
    session.close()


def test_tensors_without_memory_of_their_own_are_named() -> None:
    with pytest.raises(ExportError, match="weight of LazyLinear has no shape yet; call the module once"):
        resolve(torch.nn.LazyLinear(8), torch.zeros(1, 4))
    sparse = torch.nn.Identity()
    sparse.register_buffer("mask", torch.eye(4).to_sparse())
    with pytest.raises(ExportError, match=r"mask of Identity is torch\.sparse_coo; make it dense"):
        resolve(sparse, torch.zeros(1, 4))


def test_loading_forgets_the_export_and_keeps_the_inputs(tiny: torch.nn.Module, ids: torch.Tensor) -> None:
    first = resolve(tiny, ids)
    assert resolve(tiny, keep=False) is first
    exported_again = resolve(tiny)
    assert exported_again is not first
    assert exported_again.captured.graph.model_digest == first.captured.graph.model_digest


def test_a_module_is_not_kept_alive(ids: torch.Tensor) -> None:
    model = torch.nn.Linear(4, 4).eval()
    resolve(model, torch.zeros(1, 4), keep=False)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_unknown_inputs_are_asked_for(tiny: torch.nn.Module) -> None:
    with pytest.raises(InvalidInputError, match="example_inputs"):
        resolve(tiny)


def test_a_batch_size_repeats_the_inputs(tiny: torch.nn.Module, ids: torch.Tensor) -> None:
    source = resolve(tiny, ids, batch_size=4)
    assert source.batch_size == 4 and source.captured.graph.inputs[0].shape == (4, 6)
    with pytest.raises(InvalidInputError, match="at least 1"):
        resolve(tiny, ids, batch_size=0)


def test_precisions_cast_a_copy(tiny: torch.nn.Module, ids: torch.Tensor) -> None:
    source = resolve(tiny, ids, dtype="bf16")
    assert {weight.dtype for weight in source.captured.graph.weights} == {"bfloat16"}
    assert tiny.first.weight.dtype == torch.float32


@pytest.mark.parametrize("name", ["nosuch", "resnet5"])
def test_unknown_names_list_the_known(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match="resnet50"):
        resolve(name)


def test_a_folder_named_like_a_zoo_model_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet50").mkdir()
    assert resolve("resnet50", keep=False).name == "resnet50"


def test_a_folder_is_trusted_only_where_the_caller_says_so(tmp_path: Path) -> None:
    source = resolve(torch.nn.ReLU().eval(), torch.ones(2))
    graph = source.captured.graph
    foreign = replace(graph, steps=tuple(replace(step, op="elsewhere::relu") for step in graph.steps))
    write_folder(tmp_path, foreign, source.captured.storages)
    with pytest.raises(DocumentError, match=r"elsewhere::relu.*trust=True"):
        resolve(tmp_path)
    assert resolve(tmp_path, trust=True).captured.graph == foreign


def test_what_was_exported_keeps_its_batch(tmp_path: Path) -> None:
    source = resolve(torch.nn.ReLU().eval(), torch.ones(4, 2))
    write_folder(tmp_path / "relu", source.captured.graph, source.captured.storages)
    torch.export.save(torch.export.export(torch.nn.ReLU().eval(), (torch.ones(4, 2),)), tmp_path / "relu.pt2")
    for path in (tmp_path / "relu", tmp_path / "relu.pt2"):
        assert resolve(path).captured.graph.inputs[0].shape == (4, 2)
        with pytest.raises(MismatchError, match="export the model for a batch of 8"):
            resolve(path, batch_size=8)
