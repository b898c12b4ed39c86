"""Figure 13: BERT-Large and GPT-2 served from host memory, against the number of instances.

python experiments/fig13.py --devices 0 1 2 3    # on real GPUs
python experiments/fig13.py --simulate           # in virtual time, from the profiles that ship
python experiments/fig13.py --redraw             # draws from the committed results

DeepPlan (EuroSys'23), section 5.3: four GPUs with 10.5 GiB each for models, Poisson arrivals at 100 requests/s, an
objective of 100 ms.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from serving_figure import serving_figure
from serving_runs import GIB, Run, sweep_instances

PAPER = Run("", "bert_large", 0, 100, 21 * GIB // 2, objective_ms=100)
RUNS = (
    *sweep_instances(range(10, 101, 10), PAPER),
    *sweep_instances(range(20, 181, 20), replace(PAPER, model="gpt2")),
)


def main(arguments: Sequence[str] | None = None, runs: Sequence[Run] = RUNS) -> int:
    """Serves and draws. Returns 1 if there is nothing to draw."""
    return serving_figure("fig13", __doc__, runs, arguments)


if __name__ == "__main__":
    sys.exit(main())
