"""Each file that is no sound one gives one clear error of ours, leaves nothing half-loaded, and the process goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import deepplan
from deepplan.errors import DeepPlanError, DocumentError, InvalidInputError

pytestmark = pytest.mark.usefixtures("goes_on")

Make = Callable[..., Any]


@pytest.mark.parametrize("keep", [0, 1, 100, -2])
@pytest.mark.parametrize("kind", ["plan", "profile"])
def test_a_truncated_document(model: nn.Module, tmp_path: Path, kind: str, keep: int, profile_for: Make) -> None:
    path = tmp_path / f"{kind}.json"
    profile = profile_for(model)
    (profile if kind == "profile" else deepplan.search(profile)).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DocumentError, match=path.name):
        (deepplan.Profile if kind == "profile" else deepplan.Plan).load(path)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["layers"][0].update(group=7),
        lambda data: data["layers"][0].update(placement="somewhere"),
        lambda data: data["layers"][0].update(route=3),
        lambda data: data["layers"].pop(),
        lambda data: data.update(layers=[]),
        lambda data: data.update(version=99),
        lambda data: data.update(format="deepplan.profile"),
        lambda data: data.pop("links"),
    ],
)
def test_an_edited_plan(plan: deepplan.Plan, tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = tmp_path / "edited.json"
    plan.save(path)
    edit(path, change)
    with pytest.raises(DocumentError, match=r"edited\.json"):
        deepplan.Plan.load(path)


@pytest.fixture
def folder(model: nn.Module, plan: deepplan.Plan, tmp_path: Path) -> Path:
    with deepplan.load(model, plan) as session:
        session.save(tmp_path / "exported")
    return tmp_path / "exported"


def test_a_sound_folder_is_loaded(folder: Path, model: nn.Module) -> None:
    with deepplan.load(folder) as session:
        assert torch.equal(session(model.example_inputs), model(model.example_inputs))


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("file", ["graph.json", "weights.safetensors", "plan.json"])
def test_a_truncated_file_of_a_folder(folder: Path, file: str, keep: float) -> None:
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DocumentError, match=file):
        deepplan.load(folder)


def set_item(row: list[Any], index: int, value: Any) -> None:
    row[index] = value


@pytest.mark.parametrize(
    "change",
    [
        lambda graph: graph["steps"][0].update(op="aten::no_such_operator"),
        lambda graph: graph["steps"][0].update(overload="none"),
        lambda graph: graph["steps"][0]["args"].clear(),
        lambda graph: graph["steps"][0]["args"].append({"slot": 10**6}),
        lambda graph: set_item(graph["weights"][0], 5, 10**9),
        lambda graph: set_item(graph["weights"][0], 3, [2**40, 2**40]),
        lambda graph: set_item(graph["weights"][0], 2, "float33"),
        lambda graph: set_item(graph["inputs"][0], 2, [-1]),
        lambda graph: graph["layers"].pop(),
        lambda graph: graph.update(slots=10**12),
    ],
)
def test_an_edited_graph(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit(folder / "graph.json", change)
    with pytest.raises(DocumentError, match=r"graph\.json"):
        deepplan.load(folder)
    certify(folder)
    with pytest.raises(DeepPlanError):
        deepplan.load(folder)


def certify(folder: Path) -> None:
    """Makes weights and plan name the edited graph as theirs, as a careful hand would."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    from deepplan.export.graph import Graph

    try:
        digest = Graph.from_json((folder / "graph.json").read_text()).model_digest
    except DocumentError:
        return  # refused whatever the others say
    with safe_open(folder / "weights.safetensors", framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        metadata = file.metadata()
    save_file(weights, folder / "weights.safetensors", {**metadata, "model_digest": digest})
    edit(folder / "plan.json", lambda plan: plan.update(model_digest=digest))


def test_a_folder_without_weights(folder: Path) -> None:
    os.remove(folder / "weights.safetensors")
    with pytest.raises(DocumentError, match=r"weights\.safetensors"):
        deepplan.load(folder)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"graph\.json"):
        deepplan.load(tmp_path)


def test_a_folder_that_cannot_be_written(model: nn.Module, plan: deepplan.Plan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with deepplan.load(model, plan) as session:
        with pytest.raises(InvalidInputError, match="cannot write"):
            session.save(tmp_path / "file" / "folder")
        assert torch.equal(session(model.example_inputs), model(model.example_inputs))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_truncated_pt2_file(model: nn.Module, plan: deepplan.Plan, tmp_path: Path, keep: float) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(model, (model.example_inputs,)), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DocumentError, match=r"model\.pt2"):
        deepplan.load(path, plan)
