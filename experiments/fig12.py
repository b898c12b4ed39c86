"""Figure 12: BERT-Base served from host memory, against the number of instances and against the rate.

python experiments/fig12.py --devices 0 1 2 3    # on real GPUs
python experiments/fig12.py --simulate           # in virtual time, from the profiles that ship
python experiments/fig12.py --redraw             # draws from the committed results

The upper panels are the paper's setting (DeepPlan, EuroSys'23, section 5.3): four GPUs with 10.5 GiB each for models,
Poisson arrivals at 100 requests/s, an objective of 100 ms. The lower ones leave 4 GiB a GPU, so that a tenth of 390
instances fits, and sweep the rate at an objective of 25 ms; at half load they are compared with instances that stay.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from serving_figure import serving_figure
from serving_runs import GIB, Run, sweep_instances, sweep_rates

PAPER = Run("", "bert_base", 0, 100, 21 * GIB // 2, objective_ms=100)
TIGHT = Run("", "bert_base", 390, 0, 4 * GIB, objective_ms=25)
CODED = replace(TIGHT, dtype="bf16", coding=True)
INSTANCES = tuple(range(20, 201, 20))
RATES_PER_S = tuple(range(50, 701, 50))
CODED_RATES_PER_S = tuple(range(200, 1601, 100))
RUNS = (
    *sweep_instances(INSTANCES, PAPER),
    replace(PAPER, sweep="resident", instances=39, rate_per_s=0, objective_ms=25),
    replace(TIGHT, sweep="half"),
    *sweep_rates(RATES_PER_S, TIGHT),
    *sweep_rates(CODED_RATES_PER_S, CODED),
)


def main(arguments: Sequence[str] | None = None, runs: Sequence[Run] = RUNS) -> int:
    """Serves and draws. Returns 1 if there is nothing to draw."""
    return serving_figure("fig12", __doc__, runs, arguments)


if __name__ == "__main__":
    sys.exit(main())
