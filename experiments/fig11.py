"""Figure 11: cold starts and their throughput against the batch size, under five methods (DeepPlan, EuroSys'23).

python experiments/fig11.py --devices 0 1 2 3     # profiles, measures, draws
python experiments/fig11.py --redraw              # draws from results that are there, without a GPU

Results are written after every batch size; those that are not measured again are kept if they come from the same
machine, versions and commit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fig11_drawing import draw
from figure_script import add_figure_arguments, run_figure

MODELS = ("bert_base", "gpt2")
BATCH_SIZES = (1, 2, 4, 8, 16)


def main(arguments: Sequence[str] | None = None, build: Callable[[str], Any] | None = None) -> int:
    """Runs the experiment. Returns 1 if anything could not be measured.

    `build` replaces the zoo: from a name to a module that carries its `zoo_name` and `example_inputs`.
    """
    options = _parser().parse_args(arguments)

    def measure(path: Path) -> list[str]:
        from fig11_measuring import measure_batches  # brings torch and the compiled core

        return measure_batches(options, path, build)

    return run_figure("fig11", options, measure, draw)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=BATCH_SIZES, metavar="N")
    parser.add_argument("--devices", nargs="+", default=["0"], metavar="DEVICE", help="the target first; 0 1 or host:0")
    parser.add_argument("--repeat", type=int, default=50, metavar="N", help="cold starts of each method (default 50)")
    add_figure_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
