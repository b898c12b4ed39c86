"""Cold starts of eight models against the hardware's floor, by dtype, method and number of links.

python experiments/floors.py --devices 0 1 2 3     # profiles, measures, draws
python experiments/floors.py --redraw              # draws from the committed results, without a GPU

Results are written after every model and dtype. Rows of what is not measured again are kept: each says which machine,
commit and run it is of. What the same setup has not measured before comes first, so that runs with a time limit add up.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fig10 import MODELS
from figure_script import add_figure_arguments, run_figure
from floors_drawing import DTYPES, draw
from results_file import ROOT


def main(arguments: Sequence[str] | None = None, build: Callable[[str], Any] | None = None) -> int:
    """Runs the experiment. Returns 1 if a model could not be measured, or if there is nothing to draw.

    `build` replaces the zoo: from a name to a module that carries its `zoo_name` and `example_inputs`.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    wanted = options.links or []
    if not all(1 <= links <= len(options.devices) for links in wanted):
        parser.error(f"--links {' '.join(map(str, wanted))}: there are {len(options.devices)} in --devices")

    def measure(path: Path) -> list[str]:
        from floors_measuring import measure_models  # brings torch and the compiled core

        return measure_models(options, path, build)

    return run_figure("floors", options, measure, draw)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES, metavar="DTYPE", help="fp32 tf32 bf16")
    parser.add_argument("--devices", nargs="+", default=["0"], metavar="DEVICE", help="the target first; 0 1 or host:0")
    parser.add_argument(
        "--links", nargs="+", type=int, metavar="N", help="how many devices to use (default: 1, 2, 4, ... and all)"
    )
    parser.add_argument("--repeat", type=int, default=200, metavar="N", help="cold starts of each (default 200)")
    parser.add_argument(
        "--time-limit", type=float, metavar="SECONDS", help="begin no other model or dtype after so long"
    )
    parser.add_argument(
        "--profile-budget", type=float, default=5.0, metavar="SECONDS", help="for each kind of profiled run (default 5)"
    )
    parser.add_argument("--profiles", type=Path, default=ROOT / "deepplan" / "profiles", metavar="DIR")
    add_figure_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
