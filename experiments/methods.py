"""The five methods of Figure 10: which engine runs each, over how many links (DeepPlan, EuroSys'23, section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Method:
    """`engine` is deepplan's name for it; `parallel` methods use the links of all devices, the others the target's.

    All figures draw it in its `colour`, and those that draw lines with its `marker`.
    """

    title: str
    engine: str
    parallel: bool
    colour: str
    marker: str


METHODS = (
    Method("on-demand", "demand", False, "#b9c0ca", "x"),
    Method("PipeSwitch", "pipeline", False, "#7d8ea6", "s"),
    Method("DHA", "deepplan", False, "#f0902b", "o"),
    Method("PT", "pipeline", True, "#5b9fd4", "D"),
    Method("PT+DHA", "deepplan", True, "#1f4e8c", "^"),
)
BY_TITLE = {method.title: method for method in METHODS}


def method_of(row: Mapping[str, Any]) -> Method:
    """The method that a row of results was measured with."""
    parallel = len(row["devices"]) > 1
    return next(method for method in METHODS if (method.engine, method.parallel) == (row["method"], parallel))
