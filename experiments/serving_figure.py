"""What the scripts of the serving figures have in common: flags, virtual or real time, and whose numbers they are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figure_script import add_figure_arguments, run_figure
from origins import mark, with_setups
from results_file import read_results, write_results
from serving_drawing import draw_sweeps
from serving_runs import SERVED, Run, same_series
from serving_summary import summarise

SIMULATED_S, MEASURED_S = 600.0, 10.0


def serving_figure(name: str, description: str | None, runs: Sequence[Run], arguments: Sequence[str] | None) -> int:
    """Serves `runs` by each method in virtual or real time, writes the rows and draws them. Sweeps that are not run
    again are kept. Returns 1 if there is nothing to draw."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=["0"], metavar="DEVICE", help="that serve; 0 1 or host:0")
    parser.add_argument("--simulate", action="store_true", help="serve in virtual time instead")
    parser.add_argument("--machine", default="h200x4", metavar="NAME", help="whose profiles are simulated")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="of each run (default 10, simulated 600)")
    parser.add_argument("--dtypes", nargs="+", metavar="DTYPE", help="of the runs, only these")
    titles = [method.title for method in SERVED]
    parser.add_argument(
        "--methods", nargs="+", default=titles, choices=titles, metavar="METHOD", help=", ".join(titles)
    )
    parser.add_argument("--instances", nargs="+", type=int, metavar="N", help="of that sweep, only these points")
    parser.add_argument("--rates", nargs="+", type=float, metavar="PER_S", help="of that sweep, only these points")
    add_figure_arguments(parser)
    options = parser.parse_args(arguments)
    chosen = [run for run in runs if _is_chosen(run, options)]

    def measure(path: Path) -> list[str]:
        _Rows(path, options).serve(chosen)
        return []

    return run_figure(name, options, measure, draw_sweeps)


def _is_chosen(run: Run, options: argparse.Namespace) -> bool:
    return (
        (options.dtypes is None or run.dtype in options.dtypes)
        and (options.instances is None or run.sweep != "instances" or run.instances in options.instances)
        and (options.rates is None or run.sweep != "rate" or run.rate_per_s in options.rates)
    )


class _Rows:
    """The rows of a figure's file, written after each that is added: a run that is cut short loses nothing."""

    def __init__(self, path: Path, options: argparse.Namespace) -> None:
        self._path, self._options = path, options
        self._kept = read_results(path) if path.exists() else {"rows": [], "provenance": {"setups": []}}
        self._rows: list[dict[str, Any]] = list(self._kept["rows"])
        self._origin = provenance_of(options)

    def serve(self, runs: Sequence[Run]) -> None:
        """In place of what there was of the same sweeps."""
        options = self._options
        simulate = options.simulate
        methods = [method for method in SERVED if method.title in options.methods]
        self._rows = [row for row in self._rows if not any(same_series(row, run, methods, simulate) for run in runs)]
        duration_s = options.duration or (SIMULATED_S if simulate else MEASURED_S)
        if simulate:
            from serving_sweep import simulate_runs

            for row in simulate_runs(options.machine, methods, runs, duration_s):
                self._add(row)
        else:
            from serving_measuring import measure_runs

            measure_runs(options.devices, methods, runs, duration_s, self._add)

    def _add(self, row: dict[str, Any]) -> None:
        self._rows.append(mark(row, self._origin))
        provenance = with_setups(self._origin, self._rows, self._kept["provenance"]["setups"])
        write_results(self._path, provenance, summary=summarise(self._rows), rows=self._rows)


def provenance_of(options: argparse.Namespace) -> dict[str, Any]:
    """Where it was served; simulated, the machine is that of the profiles."""
    from deepplan.engine.devices import Devices, resolve_devices  # bring torch and the compiled core
    from provenance import provenance

    if not options.simulate:
        return {**provenance(resolve_devices(options.devices), options.commit), "simulated": False}
    return {**provenance(Devices(("host:0",)), options.commit), "machine": options.machine, "simulated": True}
