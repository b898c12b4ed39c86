"""Figure 13: BERT-Large and GPT-2 served from host memory, against the number of instances.

python experiments/fig13.py --simulate     # in virtual time, from the profiles that ship
python experiments/fig13.py --redraw       # draws from the committed results

DeepPlan (EuroSys'23), section 5.3: four GPUs with 10.5 GiB each for models, Poisson arrivals at 100 requests/s, an
objective of 100 ms.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from serving_figure import serving_figure

INSTANCES = {"bert_large": tuple(range(10, 101, 10)), "gpt2": tuple(range(20, 181, 20))}
GIB = 1 << 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulates and draws. Returns 1 if there is nothing to draw."""
    return serving_figure("fig13", __doc__, _rows, arguments)


def _rows(machine: str, duration_s: float) -> Iterator[dict[str, Any]]:
    from serving_sweep import by_instances

    setting = {"gpus": 4, "gpu_memory_bytes": 21 * GIB // 2, "objective_ms": 100.0}
    for model, counts in INSTANCES.items():
        yield from by_instances(machine, model, counts, rate_per_s=100, duration_s=duration_s, **setting)


if __name__ == "__main__":
    sys.exit(main())
