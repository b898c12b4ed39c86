"""Text for a terminal: a plan as a header and one row for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepplan.planning.plan import Plan, PlanLayer

_COLUMNS = ("", "layer", "type", "MB", "choice", "group", "route")
_LEFT = (1, 2, 4)  # columns of text; the others hold numbers


def plan_table(plan: Plan) -> str:
    """What `print(plan)` shows: what it is for, what it promises, and each layer's choice."""
    made_for = ", ".join(filter(None, (plan.dtype, f"batch {plan.batch_size}", plan.machine, " ".join(plan.devices))))
    loaded, in_place = plan.loaded_bytes / 1e6, plan.direct_host_access_bytes / 1e6
    header = (
        f"{plan.model or 'model'} ({made_for}), policy {plan.policy}\n"
        f"predicted {plan.predicted_ms:.3f} ms, of which {plan.timeline.stall_ms:.3f} ms stalled; "
        f"within {100 * plan.gap:.2f} % of a lower bound\n"
        f"{loaded:.2f} MB loaded in {len(plan.routes)} groups over {max(len(set(plan.routes)), 1)} of "
        f"{len(plan.links)} links, {in_place:.2f} MB read in place\n"
    )
    if any(plan.coded):
        header += (
            f"{plan.coded_plain_bytes / 1e6:.2f} MB of it cross coded as {plan.coded_bytes / 1e6:.2f} MB in "
            f"{sum(plan.coded)} groups (c); {plan.crossing_bytes / 1e6:.2f} MB cross in all\n"
        )
    rows = [_COLUMNS, *(_row(index, layer, plan.coded) for index, layer in enumerate(plan.layers))]
    return header + text_table(rows, _LEFT)


def text_table(rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """`rows` with their columns aligned: those in `left` (text) to the left, the others (numbers) to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    lines = (
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def _row(index: int, layer: PlanLayer, coded: Sequence[bool]) -> tuple[str, ...]:
    if layer.size_bytes == 0:
        return (str(index), layer.name, layer.type, "", "-", "", "")
    size = f"{layer.size_bytes / 1e6:.3f}"
    if layer.placement == "dha":
        return (str(index), layer.name, layer.type, size, "DHA", "", "")
    group = f"{layer.group}c" if coded[layer.group] else str(layer.group)
    return (str(index), layer.name, layer.type, size, "load", group, str(layer.route))
