"""Layers: maximal runs of steps of one module call, and which of them loads which storage."""

from __future__ import annotations

from deepplan.export.arguments import WeightRef
from deepplan.export.graph import Layer, Weight
from deepplan.export.steps import DraftStep
from deepplan.export.verify import references

# Operators that gather rows of their first argument: of the whole table they read only what the indices ask for.
LOOKUPS = frozenset({"aten::embedding", "aten::embedding_bag", "aten::_embedding_bag"})


def cut_layers(
    drafts: list[DraftStep], weights: tuple[Weight, ...], storages: int
) -> tuple[tuple[Layer, ...], list[int]]:
    """The layers of `drafts`, and the layer of each step.

    A run is named after its module, with `#2`, `#3`, ... from its second run on. A storage belongs to the layer of
    its first use other than a lookup, else of its first lookup: a tied embedding is gathered from at the start, and
    needed as a whole at the end.
    """
    begins = [index for index, draft in enumerate(drafts) if index == 0 or draft.module != drafts[index - 1].module]
    ends = [*begins[1:], len(drafts)]
    dense: dict[int, list[int]] = {}
    lookups: dict[int, list[int]] = {}
    layer_of_step: list[int] = []
    for layer, (begin, end) in enumerate(zip(begins, ends)):
        layer_of_step += [layer] * (end - begin)
        for draft in drafts[begin:end]:
            for position, value in enumerate((*draft.args, *draft.kwargs.values())):
                uses = lookups if draft.op in LOOKUPS and position == 0 else dense
                for reference in references(value):
                    if isinstance(reference, WeightRef):
                        uses.setdefault(weights[reference.index].storage, []).append(layer)
    owned: dict[int, list[int]] = {}
    shared: set[int] = set()
    for storage in range(storages):
        users = dense.get(storage) or lookups[storage]
        owned.setdefault(users[0], []).append(storage)
        if len(set(dense.get(storage, ()))) > 1:
            shared.add(users[0])
    runs: dict[str, int] = {}
    layers = []
    for layer, (begin, end) in enumerate(zip(begins, ends)):
        module = drafts[begin].module
        runs[module.name] = runs.get(module.name, 0) + 1
        name = module.name if runs[module.name] == 1 else f"{module.name}#{runs[module.name]}"
        layers.append(Layer(name, module.type, (begin, end), tuple(owned.get(layer, ())), layer not in shared))
    return tuple(layers), layer_of_step
