"""When an engine counts as hung, how long to wait before one that crashed is started again, and when to give up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from deepplan.planning.records import Count, Range, Record

_Seconds = Annotated[float, Range(0, 1e6)]


@dataclass(frozen=True)
class RestartPolicy(Record):
    """Each crash within `window_s` doubles the wait, from `first_delay_s` to `longest_delay_s`; the one that makes
    `max_crashes` of them is the last. A process that answers nothing for `silence_s` is ended, as if it had crashed,
    and so is one in which a run takes so much longer than a hundred times what was predicted."""

    first_delay_s: _Seconds = 0.1
    longest_delay_s: _Seconds = 10.0
    max_crashes: Count = 5
    window_s: _Seconds = 60.0
    silence_s: _Seconds = 30.0

    def delay_s(self, crashed_s: Sequence[float]) -> float | None:
        """The wait after crashes at these times, ascending, the last one now; None to give up."""
        recent = sum(crashed_s[-1] - moment <= self.window_s for moment in crashed_s)
        if recent >= self.max_crashes:
            return None
        return min(self.first_delay_s * 2.0 ** (recent - 1), self.longest_delay_s)
