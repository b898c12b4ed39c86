"""Figure 10: cold starts of eight models under five methods (DeepPlan, EuroSys'23, section 5.2).

python experiments/fig10.py --devices 0 1 2 3     # profiles, measures, draws
python experiments/fig10.py --redraw              # draws from the committed results, without a GPU

Results are written after every model; those of models that are not measured again are kept if they come from the same
machine, versions and commit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fig10_drawing import draw
from figure_script import add_figure_arguments, run_figure
from results_file import ROOT

MODELS = (
    *("resnet50", "resnet101", "bert_base", "bert_large"),
    *("roberta_base", "roberta_large", "gpt2", "gpt2_medium"),
)


def main(arguments: Sequence[str] | None = None, build: Callable[[str], Any] | None = None) -> int:
    """Runs the experiment. Returns 1 if a model could not be measured.

    `build` replaces the zoo: from a name to a module that carries its `zoo_name` and `example_inputs`.
    """
    options = _parser().parse_args(arguments)

    def measure(path: Path) -> list[str]:
        from fig10_measuring import measure_models  # brings torch and the compiled core

        return measure_models(options, path, build)

    return run_figure("fig10", options, measure, draw)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME")
    parser.add_argument("--devices", nargs="+", default=["0"], metavar="DEVICE", help="the target first; 0 1 or host:0")
    parser.add_argument("--repeat", type=int, default=50, metavar="N", help="cold starts of each method (default 50)")
    parser.add_argument("--profiles", type=Path, default=ROOT / "deepplan" / "profiles", metavar="DIR")
    add_figure_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
