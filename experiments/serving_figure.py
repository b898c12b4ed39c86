"""What the scripts of the serving figures have in common: flags, virtual time, and whose numbers they are."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from figure_script import add_figure_arguments, run_figure
from results_file import write_results
from serving_drawing import draw_sweeps

Rows = Callable[[str, float], Iterable[dict[str, Any]]]  # the machine whose profiles are served from, s of each run


def serving_figure(name: str, description: str | None, rows: Rows, arguments: Sequence[str] | None) -> int:
    """Serves in virtual time, writes the rows and draws them. Returns 1 if there is nothing to draw."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", action="store_true", help="serve in virtual time; real serving is not built yet")
    parser.add_argument("--machine", default="h200x4", metavar="NAME", help="whose profiles are served from")
    parser.add_argument("--duration", type=float, default=600.0, metavar="SECONDS", help="of each run (default 600)")
    add_figure_arguments(parser)
    options = parser.parse_args(arguments)
    if not options.simulate and not options.redraw:
        parser.error("say --simulate or --redraw: real serving is not built yet")

    def measure(path: Path) -> list[str]:
        write_results(
            path, _provenance(options.machine, options.commit), rows=list(rows(options.machine, options.duration))
        )
        return []

    return run_figure(name, options, measure, draw_sweeps)


def _provenance(machine: str, commit: str | None) -> dict[str, Any]:
    """Where it was simulated, and from the profiles of which machine."""
    from deepplan.engine.devices import Devices  # brings torch and the compiled core
    from provenance import provenance

    here = provenance(Devices(("host:0",)), commit)
    return {**here, "machine": machine, "simulated": True}
