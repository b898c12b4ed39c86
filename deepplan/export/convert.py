"""An exported program (`torch.export`, not decomposed) to deepplan's graph."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from deepplan.errors import ExportError
from deepplan.export.arguments import Argument, Device, DType, Layout, MemoryFormat, Slot, WeightRef
from deepplan.export.graph import Graph, InputSpec
from deepplan.export.layers import cut_layers
from deepplan.export.nesting import dump, nesting_of
from deepplan.export.steps import DraftStep, Module, drop_unread, number
from deepplan.export.verify import SCALAR_OPERATORS, references
from deepplan.export.weights import pack_weights
from deepplan.export.writes import WriteGuard

_ASSERTIONS = frozenset(
    {
        "aten::_assert_async",
        "aten::_assert_scalar",
        "aten::_assert_tensor_metadata",
        "aten::sym_constrain_range",
        "aten::sym_constrain_range_for_size",
        "aten::_functional_assert_async",
    }
)
_NUMBERS = {getattr(operator, name): f"deepplan::{name}" for name in SCALAR_OPERATORS}


@dataclass(frozen=True)
class Captured:
    """A graph and, for each of its storages, the bytes: one-dimensional uint8 CPU tensors over the module's memory."""

    graph: Graph
    storages: tuple[torch.Tensor, ...]


def convert(program: ExportedProgram) -> Captured:
    """The graph of `program`. Raises ExportError naming the operator that has no place in one."""
    return _Converter(program).convert()


class _Converter:
    def __init__(self, program: ExportedProgram) -> None:
        self._program = program
        self._values: dict[fx.Node, Argument] = {}
        self._drafts: list[DraftStep] = []
        self._slots = 0
        self._tensors: dict[str, torch.Tensor] = {}
        self._list_items: dict[tuple[int, int], Slot] = {}
        self._guard = WriteGuard()
        self._home = _home_device(program)

    def convert(self) -> Captured:
        inputs = self._read_inputs()
        graph_module = self._program.graph_module
        for node in graph_module.graph.nodes:
            if node.op == "call_function":
                self._call(graph_module, node)
        outputs = self._read_outputs()
        drafts = drop_unread(self._drafts, outputs)
        names = self._used_weights(drafts)
        packed = pack_weights({name: self._tensors[name] for name in names})
        drafts = [_renumber_weights(draft, list(self._tensors), names) for draft in drafts]
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
        if isinstance(argument, ConstantArgument):
            if not isinstance(argument.value, (bool, int, float, str, type(None))):
                raise ExportError(
                    f"input {argument.name!r} is a {type(argument.value).__name__}, which cannot be fixed"
                )
            self._values[node] = argument.value
            return InputSpec(argument.name, "", (), -1, "constant", argument.value)
        value = node.meta.get("val")
        if not isinstance(argument, TensorArgument) or not isinstance(value, torch.Tensor):
            raise ExportError(f"input {argument.name!r} is neither a tensor nor a constant")
        if not all(isinstance(size, int) for size in value.shape):
            raise ExportError(
                f"input {argument.name!r} has the dynamic shape {tuple(value.shape)}; export it with fixed ones"
            )
        slot = self._new_slot()
        self._values[node] = slot
        self._guard.protect(node, f"the input {argument.name!r}")
        dtype = str(value.dtype).removeprefix("torch.")
        return InputSpec(argument.name, dtype, tuple(value.shape), slot.index)

    def _add_weight(self, name: str, node: fx.Node) -> None:
        tensor = self._program.state_dict.get(name)
        if tensor is None:
            tensor = self._program.constants[name]
        if not isinstance(tensor, torch.Tensor):
            raise ExportError(f"constant {name!r} is a {type(tensor).__name__}, not a tensor")
        self._values[node] = WeightRef(len(self._tensors))
        self._tensors[name] = tensor
        self._guard.protect(node, f"the parameter or buffer {name!r}", is_weight=True)

    def _read_outputs(self) -> tuple[Argument, ...]:
        nodes = {node.name: node for node in self._program.graph.nodes}
        outputs: list[Argument] = []
        for spec in self._program.graph_signature.output_specs:
            if spec.kind is not OutputKind.USER_OUTPUT:
                raise ExportError(f"the model writes to {spec.target!r} in place")
            if isinstance(spec.arg, ConstantArgument):
                outputs.append(self._encode("the output", spec.arg.value))
                continue
            node = nodes[spec.arg.name]
            value = self._values[node]
            if self._guard.is_weight(node):  # the session's weights come and go: the caller gets a copy
                value = self._emit("aten::clone", "", (value,), {}, 1, Module("clone", "clone"))[0]
            outputs.append(value)
        return tuple(outputs)

    def _call(self, owner: fx.GraphModule, node: fx.Node) -> None:
        target = node.target
        if isinstance(target, torch._ops.OpOverload):
            self._call_operator(node, target)
        elif isinstance(target, torch._ops.HigherOrderOperator):
            self._call_region(owner, node, str(target))
        elif target is operator.getitem:
            self._values[node] = self._get_item(node)
        elif target in _NUMBERS:
            args = tuple(self._encode(_NUMBERS[target], value) for value in node.args)
            self._values[node] = self._emit(_NUMBERS[target], "", args, {}, 1, _module(node, _NUMBERS[target]))[0]
        else:
            raise ExportError(f"cannot export {getattr(target, '__name__', target)}: not an operator of the dispatcher")

    def _call_operator(self, node: fx.Node, target: torch._ops.OpOverload) -> None:
        schema = target._schema
        if schema.name in _ASSERTIONS:
            return
        self._guard.check(node, target)
        if schema.name == "aten::lift_fresh_copy":
            self._guard.release(node)
        args = tuple(self._encode(schema.name, value) for value in node.args)
        kwargs = {name: self._encode(schema.name, value) for name, value in node.kwargs.items()}
        if self._is_factory(schema) and kwargs.get("device") is None:
            kwargs["device"] = self._device(schema.name, torch.device("cpu"))
        random = torch.Tag.nondeterministic_seeded in target.tags
        removable = not (schema.is_mutable or random) and len(schema.returns) > 0
        outputs = self._emit(
            schema.name, schema.overload_name, args, kwargs, len(schema.returns), _module(node, schema.name), removable
        )
        self._values[node] = outputs[0] if len(outputs) == 1 else outputs

    def _call_region(self, owner: fx.GraphModule, node: fx.Node, name: str) -> None:
        """Inlines what a region does (gradient mode has no meaning here), between two steps if it is autocast."""
        if name == "wrap_with_set_grad_enabled":
            _, body, *operands = node.args
            self._values[node] = self._inline(owner, body, operands)
        elif name == "wrap_with_autocast":
            device, dtype, enabled, cache, body, *operands = node.args
            args = (
                self._device(name, torch.device(str(device))),
                self._encode(name, dtype),
                self._encode(name, enabled),
                self._encode(name, True if cache is None else cache),
            )
            first = len(self._drafts)
            values = self._inline(owner, body, operands)
            inside = self._drafts[first:]
            begin, end = (inside[0].module, inside[-1].module) if inside else (_module(node, name), _module(node, name))
            self._drafts.insert(first, DraftStep("deepplan::autocast_enter", "", args, {}, (), begin, False))
            self._drafts.append(DraftStep("deepplan::autocast_exit", "", (), {}, (), end, False))
            self._values[node] = values
        else:
            raise ExportError(f"cannot export the higher-order operator {name}; write that part without it")

    def _inline(self, owner: fx.GraphModule, body: Any, operands: list[Any]) -> Argument:
        inner = getattr(owner, str(body.target))
        given = iter(operands)
        for node in inner.graph.nodes:
            if node.op == "placeholder":
                self._values[node] = self._encode("a region", next(given))
            elif node.op == "call_function":
                self._call(inner, node)
            elif node.op == "output":
                return self._encode("a region", node.args[0])
        raise ExportError(f"the region {body.target} returns nothing")

    def _get_item(self, node: fx.Node) -> Argument:
        sequence, index = self._encode("getitem", node.args[0]), node.args[1]
        if not isinstance(index, int):
            raise ExportError(f"cannot export an index that is not a constant: {index}")
        if isinstance(sequence, tuple):
            item: Argument = sequence[index]
            return item
        assert isinstance(sequence, Slot)
        key = (sequence.index, index)
        if key not in self._list_items:
            self._list_items[key] = self._emit(
                "deepplan::list_get", "", (sequence, index), {}, 1, _module(node, "deepplan::list_get")
            )[0]
        return self._list_items[key]

    def _emit(
        self,
        op: str,
        overload: str,
        args: tuple[Argument, ...],
        kwargs: dict[str, Argument],
        returns: int,
        module: Module,
        removable: bool = True,
    ) -> tuple[Slot, ...]:
        outputs = tuple(self._new_slot() for _ in range(returns))
        self._drafts.append(
            DraftStep(op, overload, args, kwargs, tuple(slot.index for slot in outputs), module, removable)
        )
        return outputs

    def _new_slot(self) -> Slot:
        self._slots += 1
        return Slot(self._slots - 1)

    def _encode(self, where: str, value: Any) -> Argument:
        if value is None or isinstance(value, (bool, int, float, complex, str)):
            return value
        if isinstance(value, fx.Node):
            if value not in self._values:
                raise ExportError(f"{where} uses {value.name}, which is not a value that a graph can hold")
            return self._values[value]
        if isinstance(value, (list, tuple)):
            return tuple(self._encode(where, item) for item in value)
        if isinstance(value, torch.device):
            return self._device(where, value)
        for kind, tag in ((torch.dtype, DType), (torch.memory_format, MemoryFormat), (torch.layout, Layout)):
            if isinstance(value, kind):
                return tag(str(value).removeprefix("torch."))
        raise ExportError(f"{where} is given a {type(value).__name__}, which a graph cannot hold")

    def _device(self, where: str, device: torch.device) -> Device:
        """Constants name the device that the model was exported on; the session may run on another."""
        if device.type == self._home.type and device.index in (None, 0, self._home.index):
            return Device("target")
        if device.type == "cpu":
            return Device("cpu")
        raise ExportError(
            f"{where} asks for device {device} while the model lies on {self._home}; use the input's device"
        )

    @staticmethod
    def _is_factory(schema: torch._C.FunctionSchema) -> bool:
        names = {argument.name for argument in schema.arguments}
        takes_tensor = any("Tensor" in str(argument.type) for argument in schema.arguments)
        return "device" in names and not takes_tensor and any("Tensor" in str(item.type) for item in schema.returns)

    def _used_weights(self, drafts: list[DraftStep]) -> list[str]:
        names = list(self._tensors)
        used: dict[str, None] = {}
        for draft in drafts:
            for reference in references(*draft.args, *draft.kwargs.values()):
                if isinstance(reference, WeightRef):
                    used[names[reference.index]] = None
        return list(used)


def _home_device(program: ExportedProgram) -> torch.device:
    """The device that the program's weights and inputs lie on: the GPU if any of them does."""
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"]
    devices = sorted({str(value.device) for value in values if isinstance(value, torch.Tensor)} - {"cpu", "meta"})
    if len(devices) > 1:
        raise ExportError(f"the model lies on several devices: {', '.join(devices)}; move it to one")
    return torch.device(devices[0] if devices else "cpu")


def _module(node: fx.Node, op: str) -> Module:
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return Module(op.partition("::")[2], op.partition("::")[2])
    call, (path, kind) = list(stack.items())[-1]
    type_name = (kind if isinstance(kind, str) else kind.__qualname__).rpartition(".")[2]
    return Module(path or type_name, type_name, call)


def _renumber_weights(draft: DraftStep, old: list[str], new: list[str]) -> DraftStep:
    index = {name: position for position, name in enumerate(new)}

    def renumber(value: Argument) -> Argument:
        if isinstance(value, WeightRef):
            return WeightRef(index[old[value.index]])
        return tuple(renumber(item) for item in value) if isinstance(value, tuple) else value

    args = tuple(renumber(value) for value in draft.args)
    kwargs = {name: renumber(value) for name, value in draft.kwargs.items()}
    return DraftStep(draft.op, draft.overload, args, kwargs, draft.outputs, draft.module, draft.removable)


def _nesting(spec: pytree.TreeSpec) -> str:
    return dump(nesting_of(pytree.tree_unflatten([torch.empty(0)] * spec.num_leaves, spec)))
