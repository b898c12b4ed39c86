"""How a module's inputs and outputs are nested: tuples, lists, dictionaries, output classes, and leaves.

A nesting is kept as JSON in a graph, so that a session can take and return what the module does without the module.
Reading one imports nothing but transformers' own output classes: any other class must be known to PyTorch's pytree
registry (`torch.utils._pytree`) or loaded already.
"""

from __future__ import annotations

import collections
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any

import torch
from torch.utils import _pytree as pytree

from deepplan.errors import DocumentError, ExportError, InvalidInputError

MAX_DEPTH = 32
_TRANSFORMERS_OUTPUTS = re.compile(r"transformers\.(\w+\.)*(modeling_\w+|utils\.generic)", re.ASCII)


@dataclass(frozen=True)
class Nesting:
    """`kind` is leaf, tuple, list, dict, ordered_dict, named_tuple, return_type or registered; `type` is the class of
    the last three; `keys` are a dictionary's keys, or a registered class's context."""

    kind: str
    type: Any
    keys: Any
    children: tuple[Nesting, ...]

    @property
    def leaves(self) -> int:
        """The number of leaves."""
        return 1 if self.kind == "leaf" else sum(child.leaves for child in self.children)


LEAF = Nesting("leaf", None, None, ())
_PLAIN: dict[type, str] = {
    tuple: "tuple",
    list: "list",
    dict: "dict",
    collections.OrderedDict: "ordered_dict",
}


def nesting_of(value: Any) -> Nesting:
    """The nesting of `value`: what PyTorch's pytree makes of it. Raises ExportError for a key that JSON cannot keep."""
    node_type = pytree._get_node_type(value)
    if node_type not in pytree.SUPPORTED_NODES:
        return LEAF
    items, context = pytree.SUPPORTED_NODES[node_type].flatten_fn(value)
    children = tuple(nesting_of(item) for item in items)
    if node_type in _PLAIN:
        kind, keys = _PLAIN[node_type], list(context) if isinstance(value, dict) else None
        if keys is not None and not all(isinstance(key, (str, int)) for key in keys):
            raise ExportError(f"a dictionary with the keys {keys} cannot be saved: keys must be strings or integers")
        return Nesting(kind, None, keys, children)
    if type(value).__module__ == "torch.return_types":
        return Nesting("return_type", type(value), None, children)
    if node_type is collections.namedtuple:
        return Nesting("named_tuple", type(value), None, children)
    return Nesting("registered", node_type, context, children)


def flatten(nesting: Nesting, value: Any, where: str = "the input") -> Iterator[Any]:
    """The leaves of `value`, which must be nested like `nesting` (dictionaries in any order).

    Raises InvalidInputError with the place where it is not."""
    if nesting.kind == "leaf":
        yield value
        return
    if nesting.kind in ("dict", "ordered_dict"):
        if not isinstance(value, dict) or set(value) != set(nesting.keys):
            raise InvalidInputError(f"{where} must be a dictionary of {nesting.keys}, not {_describe(value)}")
        items = [value[key] for key in nesting.keys]
        names = [f"{where}[{key!r}]" for key in nesting.keys]
    else:
        expected = tuple if nesting.kind == "tuple" else list if nesting.kind == "list" else nesting.type
        node = pytree.SUPPORTED_NODES.get(pytree._get_node_type(value))
        if not isinstance(value, expected) or node is None:
            raise InvalidInputError(f"{where} must be a {expected.__name__}, not {_describe(value)}")
        found, context = node.flatten_fn(value)
        items = list(found)
        if len(items) != len(nesting.children) or (nesting.kind == "registered" and context != nesting.keys):
            raise InvalidInputError(f"{where} must hold {len(nesting.children)} values, not {_describe(value)}")
        names = [f"{where}[{index}]" for index in range(len(items))]
    for child, item, name in zip(nesting.children, items, names):
        yield from flatten(child, item, name)


def unflatten(nesting: Nesting, leaves: Iterator[Any]) -> Any:
    """The value nested like `nesting` whose leaves are taken from `leaves`."""
    if nesting.kind == "leaf":
        return next(leaves)
    items = [unflatten(child, leaves) for child in nesting.children]
    if nesting.kind == "dict":
        return dict(zip(nesting.keys, items))
    if nesting.kind == "ordered_dict":
        return collections.OrderedDict(zip(nesting.keys, items))
    if nesting.kind == "tuple":
        return tuple(items)
    if nesting.kind == "list":
        return items
    if nesting.kind == "named_tuple":
        return nesting.type(*items)
    if nesting.kind == "return_type":
        return nesting.type(items)
    return pytree.SUPPORTED_NODES[nesting.type].unflatten_fn(items, nesting.keys)


def dump(nesting: Nesting) -> str:
    """`nesting` as JSON."""
    return json.dumps(_to_data(nesting), separators=(",", ":"))


def load(text: str) -> Nesting:
    """The nesting in `text`. Raises DocumentError if there is none, or if it needs a class that is not there."""
    try:
        return _from_data(json.loads(text), 0)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"not a nesting of inputs or outputs: {error}") from None


def _to_data(nesting: Nesting) -> Any:
    if nesting.kind == "leaf":
        return None
    name, keys = None, nesting.keys
    if nesting.type is not None:
        name = f"{nesting.type.__module__}:{nesting.type.__qualname__}"
    if nesting.kind == "registered":
        try:
            keys = json.loads(json.dumps(keys))
        except (TypeError, ValueError):
            raise ExportError(f"a {name} cannot be described in JSON; return tuples or dictionaries") from None
        if keys != nesting.keys:
            raise ExportError(f"a {name} cannot be described in JSON; return tuples or dictionaries")
    return [nesting.kind, name, keys, [_to_data(child) for child in nesting.children]]


def _from_data(data: Any, depth: int) -> Nesting:
    if data is None:
        return LEAF
    if not isinstance(data, list) or len(data) != 4 or depth > MAX_DEPTH or not isinstance(data[3], list):
        raise DocumentError(f"not a nesting of inputs or outputs: {str(data)[:80]!r}")
    kind, name, keys, children = data
    nested = tuple(_from_data(child, depth + 1) for child in children)
    if kind in ("dict", "ordered_dict"):
        sound = isinstance(keys, list) and all(isinstance(key, (str, int)) for key in keys)
        if not sound or len(set(keys)) != len(keys) or len(keys) != len(nested):
            raise DocumentError(f"a nesting has {len(nested)} children for the keys {str(keys)[:80]}")
        return Nesting(kind, None, keys, nested)
    if kind in ("tuple", "list"):
        return Nesting(kind, None, None, nested)
    if kind not in ("named_tuple", "return_type", "registered") or not isinstance(name, str):
        raise DocumentError(f"unknown kind of nesting: {str(kind)[:40]!r}")
    return Nesting(kind, _class(kind, name, keys, len(nested)), keys if kind == "registered" else None, nested)


def _class(kind: str, name: str, keys: Any, count: int) -> type:
    """The class called `name` ("module:Class"), checked to be of `kind` and to take `count` children."""
    module_name, _, class_name = name.partition(":")
    if _TRANSFORMERS_OUTPUTS.fullmatch(module_name) and module_name not in sys.modules:
        try:
            import_module(module_name)
        except ImportError:
            raise DocumentError(f"the outputs need {name}, which the installed transformers does not have") from None
    found = getattr(sys.modules.get(module_name), class_name, None)
    if not isinstance(found, type):
        raise DocumentError(f"the outputs need the class {name}: import its module before loading")
    if kind == "named_tuple":
        sound = issubclass(found, tuple) and len(getattr(found, "_fields", ())) == count
    elif kind == "return_type":
        sound = module_name == "torch.return_types" and getattr(found, "n_sequence_fields", -1) == count
    else:
        sound = found in pytree.SUPPORTED_NODES
        if sound and issubclass(found, dict) and is_dataclass(found):  # transformers' ModelOutput
            names = {field.name for field in fields(found)}
            sound = isinstance(keys, list) and len(keys) == count and names.issuperset(map(str, keys))
    if not sound:
        raise DocumentError(f"outputs of {count} values cannot be nested in the class {name}")
    return found


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return f"one of {list(value)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"{value!r:.80}"
