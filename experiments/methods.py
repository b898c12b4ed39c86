"""The five methods of Figure 10: which engine runs each, over how many links (DeepPlan, EuroSys'23, section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Method:
    """`engine` is deepplan's name for it; `parallel` methods use the links of all devices, the others the target's."""

    title: str
    engine: str
    parallel: bool


METHODS = (
    Method("on-demand", "demand", False),
    Method("PipeSwitch", "pipeline", False),
    Method("DHA", "deepplan", False),
    Method("PT", "pipeline", True),
    Method("PT+DHA", "deepplan", True),
)


def method_of(row: Mapping[str, Any]) -> Method:
    """The method that a row of results was measured with."""
    parallel = len(row["devices"]) > 1
    return next(method for method in METHODS if (method.engine, method.parallel) == (row["method"], parallel))
