"""An exported program (`torch.export`, not decomposed) to deepplan's graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from deepplan.errors import ExportError
from deepplan.export.arguments import Argument, WeightRef
from deepplan.export.calls import CallRecorder
from deepplan.export.graph import Graph, InputSpec
from deepplan.export.layers import cut_layers
from deepplan.export.meta import FillWeight
from deepplan.export.nesting import dump, nesting_of
from deepplan.export.steps import DraftStep, Module, drop_unread, number
from deepplan.export.verify import references
from deepplan.export.weights import pack_weights
from deepplan.export.writes import WriteGuard

_NONE: Mapping[str, torch.Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class Captured:
    """A graph and, for each of its storages, the bytes: one-dimensional uint8 CPU tensors over the module's memory.

    Where the module's memory is on the meta device, so is the storage; `fill_weight(name, place)` then writes each of
    its weights.
    """

    graph: Graph
    storages: tuple[torch.Tensor, ...]
    fill_weight: FillWeight | None = None


def convert(program: ExportedProgram, on_meta: Mapping[str, torch.Tensor] = _NONE) -> Captured:
    """The graph of `program`, with `on_meta` in place of the weights of these names.

    Raises ExportError naming the operator that has no place in a graph.
    """
    return _Converter(program, on_meta).convert()


class _Converter:
    def __init__(self, program: ExportedProgram, on_meta: Mapping[str, torch.Tensor]) -> None:
        self._program = program
        self._on_meta = on_meta
        self._tensors: dict[str, torch.Tensor] = {}
        self._guard = WriteGuard()
        self._recorder = CallRecorder(self._guard, _home_device(program))

    def convert(self) -> Captured:
        inputs = self._read_inputs()
        graph_module = self._program.graph_module
        for node in graph_module.graph.nodes:
            if node.op == "call_function":
                self._recorder.call(graph_module, node)
        outputs = self._read_outputs()
        drafts, used = _renumber_weights(drop_unread(self._recorder.drafts, outputs))
        names = list(self._tensors)
        packed = pack_weights({names[index]: self._tensors[names[index]] for index in used}, self._on_meta)
        layers, layer_of_step = cut_layers(drafts, packed.weights, len(packed.storages))
        tensors = sum(given.kind == "tensor" for given in inputs)
        steps, numbered, slots = number(drafts, layer_of_step, tensors, outputs)
        graph = Graph(
            storages=packed.storages,
            weights=packed.weights,
            layers=layers,
            steps=steps,
            inputs=inputs,
            outputs=numbered,
            slots=slots,
            in_spec=_nesting(self._program.call_spec.in_spec),
            out_spec=_nesting(self._program.call_spec.out_spec),
        )
        return Captured(graph, packed.bytes)

    def _read_inputs(self) -> tuple[InputSpec, ...]:
        placeholders = {node.name: node for node in self._program.graph.nodes if node.op == "placeholder"}
        inputs = []
        for spec in self._program.graph_signature.input_specs:
            node = placeholders[spec.arg.name]
            if spec.kind is InputKind.USER_INPUT:
                inputs.append(self._read_input(spec.arg, node))
            elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
                self._add_weight(str(spec.target), node)
            else:
                raise ExportError(f"input {spec.arg.name!r} is of a kind that a graph cannot take: {spec.kind.name}")
        return tuple(inputs)

    def _read_input(self, argument: Any, node: fx.Node) -> InputSpec:
        name = argument.name
        if isinstance(argument, ConstantArgument):
            if not isinstance(argument.value, (bool, int, float, str, type(None))):
                raise ExportError(f"input {name!r} is a {type(argument.value).__name__}, which cannot be fixed")
            self._recorder.values[node] = argument.value
            return InputSpec(name, "", (), -1, "constant", argument.value)
        value = node.meta.get("val")
        if not isinstance(argument, TensorArgument) or not isinstance(value, torch.Tensor):
            raise ExportError(f"input {name!r} is neither a tensor nor a constant")
        shape = tuple(value.shape)
        if not all(isinstance(size, int) for size in shape):
            raise ExportError(f"input {name!r} has the dynamic shape {shape}; export it with fixed ones")
        slot = self._recorder.new_slot()
        self._recorder.values[node] = slot
        self._guard.protect(node, f"the input {name!r}")
        return InputSpec(name, str(value.dtype).removeprefix("torch."), shape, slot.index)

    def _add_weight(self, name: str, node: fx.Node) -> None:
        tensor = self._on_meta.get(name, self._program.state_dict.get(name))
        if tensor is None:
            tensor = self._program.constants[name]
        if not isinstance(tensor, torch.Tensor):
            raise ExportError(f"constant {name!r} is a {type(tensor).__name__}, not a tensor")
        self._recorder.values[node] = WeightRef(len(self._tensors))
        self._tensors[name] = tensor
        self._guard.protect(node, f"the parameter or buffer {name!r}", is_weight=True)

    def _read_outputs(self) -> tuple[Argument, ...]:
        nodes = {node.name: node for node in self._program.graph.nodes}
        outputs: list[Argument] = []
        for spec in self._program.graph_signature.output_specs:
            if spec.kind is not OutputKind.USER_OUTPUT:
                raise ExportError(f"the model writes to {spec.target!r} in place")
            if isinstance(spec.arg, ConstantArgument):
                outputs.append(self._recorder.encode("the output", spec.arg.value))
                continue
            node = nodes[spec.arg.name]
            value = self._recorder.values[node]
            if self._guard.is_weight(node):  # the session's weights come and go: the caller gets a copy
                value = self._recorder.emit("aten::clone", (value,), Module("clone", "clone"))[0]
            outputs.append(value)
        return tuple(outputs)


def _home_device(program: ExportedProgram) -> torch.device:
    """The device that the program's weights and inputs lie on: the GPU if any of them does."""
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"]
    devices = sorted({str(value.device) for value in values if isinstance(value, torch.Tensor)} - {"cpu", "meta"})
    if len(devices) > 1:
        raise ExportError(f"the model lies on several devices: {', '.join(devices)}; move it to one")
    return torch.device(devices[0] if devices else "cpu")


def _renumber_weights(drafts: list[DraftStep]) -> tuple[list[DraftStep], list[int]]:
    """`drafts` with weights numbered by first use, and the old number of each."""
    new: dict[int, int] = {}
    for draft in drafts:
        for reference in references(*draft.args, *draft.kwargs.values()):
            if isinstance(reference, WeightRef):
                new.setdefault(reference.index, len(new))

    def renumber(value: Argument) -> Argument:
        if isinstance(value, WeightRef):
            return WeightRef(new[value.index])
        return tuple(renumber(item) for item in value) if isinstance(value, tuple) else value

    renumbered = [
        replace(
            draft,
            args=tuple(renumber(value) for value in draft.args),
            kwargs={name: renumber(value) for name, value in draft.kwargs.items()},
        )
        for draft in drafts
    ]
    return renumbered, list(new)


def _nesting(spec: pytree.TreeSpec) -> str:
    return dump(nesting_of(pytree.tree_unflatten([torch.empty(0)] * spec.num_leaves, spec)))
