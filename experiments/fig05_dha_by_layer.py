"""Figure 5: what reading a layer's weights in place costs, by kind of layer, against loading and then executing it
(DeepPlan, EuroSys'23, section 3.1).

python experiments/fig05_dha_by_layer.py --devices 0
python experiments/fig05_dha_by_layer.py --redraw
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fig05_drawing import draw
from figure_script import add_figure_arguments, run_figure
from results_file import write_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the experiment, or only draws its results again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs=1, default=["0"], metavar="DEVICE", help="0 or host:0")
    parser.add_argument("--families", nargs="+", metavar="NAME", help="embedding, norm, linear, convolution (all)")
    add_figure_arguments(parser)
    options = parser.parse_args(arguments)
    return run_figure("fig05_dha_by_layer", options, lambda path: _measure(options, path), draw)


def _measure(options: argparse.Namespace, path: Path) -> list[str]:
    from deepplan.engine.devices import resolve_devices
    from fig05_measuring import measure_layer  # brings torch and the compiled core
    from layer_kinds import KINDS
    from provenance import provenance

    devices = resolve_devices(options.devices)
    rows = []
    for kind in KINDS:
        if options.families is None or kind.family in options.families:
            row = measure_layer(kind, devices)
            print(
                "{layer:36} {dtype:5} execute {execute_ms:.4f} ms, load {load_ms:.4f}, in place {in_place_ms:.4f}, "
                "with the link busy {in_place_busy_link_ms:.4f}".format(**row),
                flush=True,
            )
            rows.append(row)
    write_results(path, provenance(devices, options.commit), rows=rows)
    return []


if __name__ == "__main__":
    sys.exit(main())
