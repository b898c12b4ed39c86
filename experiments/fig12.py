"""Figure 12: BERT-Base served from host memory, against the number of instances and against the rate.

python experiments/fig12.py --simulate     # in virtual time, from the profiles that ship
python experiments/fig12.py --redraw       # draws from the committed results

The upper panels are the paper's setting (DeepPlan, EuroSys'23, section 5.3): four GPUs with 10.5 GiB each for models,
Poisson arrivals at 100 requests/s, an objective of 100 ms. The lower ones leave 4 GiB a GPU, so that a tenth of 390
instances fits, and sweep the rate at an objective of 25 ms.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from serving_figure import serving_figure

MODEL = "bert_base"
INSTANCES = tuple(range(20, 201, 20))
RATES_PER_S = tuple(range(50, 501, 50))
GIB = 1 << 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulates and draws. Returns 1 if there is nothing to draw."""
    return serving_figure("fig12", __doc__, _rows, arguments)


def _rows(machine: str, duration_s: float) -> Iterator[dict[str, Any]]:
    from serving_sweep import by_instances, by_rate

    paper = {"gpus": 4, "gpu_memory_bytes": 21 * GIB // 2, "objective_ms": 100.0}
    tight = {"gpus": 4, "gpu_memory_bytes": 4 * GIB, "objective_ms": 25.0}
    yield from by_instances(machine, MODEL, INSTANCES, rate_per_s=100, duration_s=duration_s, **paper)
    yield from by_rate(machine, MODEL, RATES_PER_S, instances=390, duration_s=duration_s, **tight)


if __name__ == "__main__":
    sys.exit(main())
