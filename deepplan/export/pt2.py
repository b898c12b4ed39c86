"""Reads a model that was written by `torch.export.save`."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from deepplan.errors import DeepPlanError, DocumentError
from deepplan.export.capture import capture
from deepplan.export.convert import Captured
from deepplan.export.pt2_check import check_pt2


def read_pt2(path: str | os.PathLike[str], *, trust: bool = False) -> Captured:
    """The graph of the `.pt2` file at `path`, for the inputs that it was exported with, and its weights' bytes.

    The program is exported once more: what was exported with dynamic shapes is fixed to its sample inputs, and the
    graph is checked like that of any module. Unless the file is trusted, one whose loading would run code is refused.
    Raises DocumentError if it cannot be read, ExportError if it cannot be a graph.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise DocumentError(f"there is no file {name}")
    if not trust:
        check_pt2(name)
    try:
        program = _load(name)
        module = program.module()
        args, kwargs = _inputs(program)
    except DeepPlanError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise DocumentError(f"cannot read {name}: {reason}") from error
    return capture(module, args, kwargs)


def _load(path: str) -> ExportedProgram:
    from torch.export.pt2_archive._package import load_pt2  # torch.export.load would also try older, pickled formats

    program: ExportedProgram = load_pt2(path).exported_programs["model"]
    return program


def _inputs(program: ExportedProgram) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The sample inputs, or zeros of the shapes that the program was exported with."""
    if program.example_inputs:
        args, kwargs = program.example_inputs
        return tuple(args), dict(kwargs)
    names = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    leaves = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is not torch.export.graph_signature.InputKind.USER_INPUT:
            continue
        value = names[spec.arg.name].meta.get("val")
        if isinstance(value, torch.Tensor) and not all(isinstance(size, int) for size in value.shape):
            raise DocumentError("the file has dynamic shapes and no sample inputs; export it again with sample inputs")
        known = isinstance(value, torch.Tensor)
        leaves.append(torch.zeros(value.shape, dtype=value.dtype) if known else getattr(spec.arg, "value", None))
    args, kwargs = pytree.tree_unflatten(leaves, program.call_spec.in_spec)
    return tuple(args), dict(kwargs)
