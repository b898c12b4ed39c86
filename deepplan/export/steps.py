"""A graph in the making: steps whose values are still numbered as they came, before dead ones are dropped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deepplan.export.arguments import Argument, Slot
from deepplan.export.graph import Step
from deepplan.export.verify import references


@dataclass(frozen=True)
class Module:
    """The module call that a step belongs to: the module's qualified name and class's name, and what tells this call
    from others of the same module."""

    name: str
    type: str
    call: str = ""


@dataclass(frozen=True)
class DraftStep:
    """A step before liveness is known. `removable`: it may be dropped if nothing reads what it returns."""

    op: str
    overload: str
    args: tuple[Argument, ...]
    kwargs: dict[str, Argument]
    outputs: tuple[int, ...]
    module: Module
    removable: bool


def drop_unread(drafts: Iterable[DraftStep], outputs: tuple[Argument, ...]) -> list[DraftStep]:
    """`drafts` without those whose results neither a later step nor `outputs` reads."""
    read = {reference for reference in references(*outputs) if isinstance(reference, Slot)}
    kept = []
    for draft in reversed(list(drafts)):
        if draft.removable and not any(Slot(slot) in read for slot in draft.outputs):
            continue
        read.update(ref for ref in references(*draft.args, *draft.kwargs.values()) if isinstance(ref, Slot))
        kept.append(draft)
    return kept[::-1]


def number(
    drafts: list[DraftStep], layers: list[int], inputs: int, outputs: tuple[Argument, ...]
) -> tuple[tuple[Step, ...], tuple[Argument, ...], int]:
    """Steps with consecutive slots, slots that nobody reads as -1, and what each step frees; the outputs in the new
    numbers; and the number of slots. The first `inputs` slots are the graph's inputs and stay where they are.
    """
    last_use: dict[int, int] = {}
    for index, draft in enumerate(drafts):
        for slot in _slots(*draft.args, *draft.kwargs.values()):
            last_use[slot] = index
    for slot in _slots(*outputs):
        last_use[slot] = len(drafts)
    frees: dict[int, list[int]] = {}
    for slot, index in last_use.items():
        frees.setdefault(index, []).append(slot)
    new = {slot: slot for slot in range(inputs)}
    steps = []
    for index, draft in enumerate(drafts):
        args = tuple(_renumber(value, new) for value in draft.args)
        kwargs = {name: _renumber(value, new) for name, value in draft.kwargs.items()}
        for slot in draft.outputs:
            if slot in last_use:
                new[slot] = len(new)
        written = tuple(new.get(slot, -1) for slot in draft.outputs)
        freed = tuple(sorted(new[slot] for slot in frees.get(index, ())))
        steps.append(Step(draft.op, draft.overload, args, kwargs, written, freed, layers[index]))
    return tuple(steps), tuple(_renumber(value, new) for value in outputs), len(new)


def _slots(*values: Argument) -> Iterable[int]:
    return (reference.index for reference in references(*values) if isinstance(reference, Slot))


def _renumber(value: Argument, new: dict[int, int]) -> Argument:
    if isinstance(value, Slot):
        return Slot(new[value.index])
    if isinstance(value, tuple):
        return tuple(_renumber(item, new) for item in value)
    return value
