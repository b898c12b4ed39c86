"""What a model that was read from a file may call, unless the file is trusted.

A graph that `capture` made may call any operator that its model does. One from a file may not: a process that has
loaded a library would run whatever that library registers, with arguments from the file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deepplan.errors import DocumentError
from deepplan.export.verify import FORBIDDEN_OPERATORS

if TYPE_CHECKING:
    from deepplan.export.graph import Graph

REMEDY = "pass trust=True (--trust) if you know where it comes from"

# PyTorch's own that were seen to read or write past the end of a memory where their indices or sizes say so: it leaves
# the layout of sparse and nested tensors unchecked, and trusts backward operators to be called by autograd alone.
_UNCHECKED = re.compile(
    r"aten::(\w*(sparse|nested|backward|ctc_loss)\w*|segment_reduce|_convert_indices_from\w*)", re.ASCII
)


def is_harmless(operator: str) -> bool:
    """Whether a file may call `operator` ("aten::linear"): PyTorch's own that look at their arguments, and ours."""
    known = operator.startswith(("aten::", "deepplan::"))
    return known and operator not in FORBIDDEN_OPERATORS and _UNCHECKED.fullmatch(operator) is None


def check_operators(graph: Graph) -> None:
    """Raises DocumentError with the first step of `graph` that calls an operator which a file may not call."""
    for index, step in enumerate(graph.steps):
        if not is_harmless(step.op):
            raise DocumentError(f"steps[{index}] calls {step.op}, which is not known to be harmless; {REMEDY}")
