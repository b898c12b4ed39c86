"""What a user may give as a model, turned into a graph and the bytes of its weights."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.nn.parameter import is_lazy

from deepplan import models
from deepplan.engine import precision
from deepplan.engine.example_inputs import find_example_inputs, normalise, with_batch_size
from deepplan.errors import ExportError, InvalidInputError, MismatchError
from deepplan.export import nesting
from deepplan.export.capture import capture
from deepplan.export.convert import Captured
from deepplan.export.folder import read_folder
from deepplan.export.pt2 import read_pt2

Inputs: TypeAlias = "torch.Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]"
Model: TypeAlias = "torch.nn.Module | str | os.PathLike[str]"


@dataclass(frozen=True)
class Source:
    """A model ready to be profiled or loaded: `dtype` is one of deepplan's precision names, "" for as it is."""

    name: str
    captured: Captured
    dtype: str
    batch_size: int
    example_inputs: tuple[tuple[Any, ...], dict[str, Any]] | None
    plan_path: Path | None = None  # of an exported folder that brings its plan

    def tensor_inputs(self) -> list[torch.Tensor]:
        """The tensors of one call, in the graph's order: the example inputs, or zeros where there are none."""
        graph = self.captured.graph
        specs = [spec for spec in graph.inputs if spec.kind == "tensor"]
        if self.example_inputs is None:
            return [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in specs]
        leaves = nesting.flatten(nesting.load(graph.in_spec), self.example_inputs, "example_inputs")
        return [leaf for spec, leaf in zip(graph.inputs, leaves) if spec.kind == "tensor"]


@dataclass(frozen=True)
class _Kept:
    """The inputs that were last given for a module, and what was made of it, which holds its weights."""

    given: tuple[tuple[Any, ...], dict[str, Any]]
    fingerprint: tuple[object, ...]
    source: Source | None


_PLAIN = (bool, int, float, complex, str, type(None), torch.dtype)

_of_module: weakref.WeakKeyDictionary[torch.nn.Module, _Kept] = weakref.WeakKeyDictionary()
_of_name: dict[tuple[str, str, int], Source] = {}  # the last zoo model that was planned, until it is loaded


def resolve(
    model: Model,
    example_inputs: Inputs | None = None,
    *,
    dtype: str | None = None,
    batch_size: int = 1,
    trust: bool = False,
    keep: bool = True,
) -> Source:
    """The source of a module, a zoo name, a `.pt2` file or an exported folder.

    A module's inputs are remembered as long as the module lives, and so is the result until a call with `keep=False`
    where it reads the module's own memory: `load` after `plan` does not ask for the inputs again, and only exports
    again what was cast to another dtype or has changed.
    A batch of 1 stands for whatever the inputs, or what was exported, have.
    Raises UnknownNameError, InvalidInputError, ExportError, MismatchError or DocumentError.
    """
    precision.check_name(dtype)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InvalidInputError(f"a batch of {batch_size!r} is not possible; it is a number of at least 1")
    if isinstance(model, torch.nn.Module):
        return _from_module(model, example_inputs, dtype, batch_size, keep)
    if not isinstance(model, (str, os.PathLike)):
        raise InvalidInputError(f"a {type(model).__name__} is no model; give a module, a zoo name, a file or a folder")
    name, path = os.fspath(model), Path(model)
    is_folder = os.path.isdir(path)  # pathlib would raise for a name that is too long
    if name in models.names() or not (is_folder or path.suffix == ".pt2"):
        return _from_zoo(name, example_inputs, dtype, batch_size, keep)
    source = _from_folder(path, dtype, trust) if is_folder else _from_pt2(path, example_inputs, dtype, trust)
    if batch_size not in (1, source.batch_size):
        raise MismatchError(f"{path} has its batch burnt in; export the model for a batch of {batch_size} instead")
    return source


def _from_module(
    module: torch.nn.Module, example_inputs: Inputs | None, dtype: str | None, batch_size: int, keep: bool
) -> Source:
    kept = _of_module.pop(module, None)
    if example_inputs is not None:
        given = normalise(example_inputs)
    else:
        given = kept.given if kept is not None else find_example_inputs(module)
    inputs = given if batch_size == 1 else with_batch_size(given, batch_size)
    fingerprint = _fingerprint(module, inputs, dtype)
    own = True
    source = kept.source if kept is not None and kept.fingerprint == fingerprint else None
    if source is None:
        prepared, args, kwargs = precision.prepare(module, *inputs, dtype)
        own = prepared is module  # a copy does not follow what becomes of the module's weights
        source = Source(_name_of(module), capture(prepared, args, kwargs), dtype or "", batch_size, (args, kwargs))
    _of_module[module] = _Kept(given, fingerprint, source if keep and own else None)
    return source


def _from_zoo(name: str, example_inputs: Inputs | None, dtype: str | None, batch_size: int, keep: bool) -> Source:
    dtype = dtype or models.default_dtype(name)
    key = (name, dtype, batch_size)
    source = _of_name.pop(key, None) if example_inputs is None else None
    if source is None:
        _of_name.clear()
        module = models.build(name)
        source = _from_module(module, example_inputs, dtype, batch_size, keep=False)
    if keep and example_inputs is None:
        _of_name[key] = source
    return source


def _from_folder(path: Path, dtype: str | None, trust: bool) -> Source:
    folder = read_folder(path, trust=trust)
    if dtype is not None and dtype != folder.dtype:
        raise MismatchError(f"{path} was exported as {folder.dtype or 'it was'}, not {dtype}; export it again")
    plan_path = path / "plan.json" if os.path.exists(path / "plan.json") else None
    return Source(folder.name, folder.captured, folder.dtype, folder.batch_size, None, plan_path)


def _from_pt2(path: Path, example_inputs: Inputs | None, dtype: str | None, trust: bool) -> Source:
    if dtype not in (None, "fp32", "tf32"):
        raise InvalidInputError(f"a .pt2 file has its dtypes burnt in; export the model as {dtype} instead")
    captured = read_pt2(path, trust=trust)
    inputs = None if example_inputs is None else normalise(example_inputs)
    return Source(path.stem, captured, dtype or "", 1, inputs)


def _name_of(module: torch.nn.Module) -> str:
    name = getattr(module, "zoo_name", None)
    return name if isinstance(name, str) else type(module).__name__


def _fingerprint(module: torch.nn.Module, inputs: tuple[Any, Any], dtype: str | None) -> tuple[object, ...]:
    """Changes when the module's memory, parts, their mode and plain attributes or the inputs' signature do: then it has
    to be exported again. Raises ExportError for a module with tensors that have no memory of their own."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        if is_lazy(tensor):
            raise ExportError(f"{name} of {type(module).__name__} has no shape yet; call the module once first")
        if tensor.layout != torch.strided:
            raise ExportError(f"{name} of {type(module).__name__} is {tensor.layout}; make it dense first")
    leaves = torch.utils._pytree.tree_leaves(inputs)
    return (
        dtype,
        tuple((name, type(part), _attributes(part)) for name, part in module.named_modules()),
        tuple((name, tensor.data_ptr(), tensor.shape, tensor.dtype) for name, tensor in tensors),
        tuple((leaf.shape, leaf.dtype) if isinstance(leaf, torch.Tensor) else repr(leaf) for leaf in leaves),
    )


def _attributes(part: torch.nn.Module) -> tuple[tuple[str, object], ...]:
    """What a forward may have been traced with: plain values, `training` among them."""
    return tuple((name, value) for name, value in vars(part).items() if isinstance(value, _PLAIN))
