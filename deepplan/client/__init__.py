"""A load generator: sends a workload on time, whatever becomes of it, and reports what became of it.

`measure` does all of it; the rest are its parts.
"""

from __future__ import annotations

from deepplan.client.comparison import Comparison, compare
from deepplan.client.connecting import connect, make_targets
from deepplan.client.in_process import InProcessTransport
from deepplan.client.measuring import measure
from deepplan.client.open_loop import send_workload
from deepplan.client.precise_loop import run
from deepplan.client.report import Report, Summary
from deepplan.client.requests import Requests, simulated
from deepplan.client.transport import Target

__all__ = [
    "Comparison",
    "InProcessTransport",
    "Report",
    "Requests",
    "Summary",
    "Target",
    "compare",
    "connect",
    "make_targets",
    "measure",
    "run",
    "send_workload",
    "simulated",
]
