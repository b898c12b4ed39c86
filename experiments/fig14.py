"""Figure 14: the trace of Azure Functions, three models served from host memory, minute by minute.

python experiments/fig14.py --devices 0 1 2 3 --duration 600 --trace invocations_per_function_md.anon.d01.csv
python experiments/fig14.py --simulate --trace invocations_per_function_md.anon.d01.csv
python experiments/fig14.py --redraw             # draws from the committed results

DeepPlan (EuroSys'23), section 5.3: GPT-2 over 384 tokens, BERT-Base and RoBERTa-Base, 1 : 4 : 4 of 252 instances, 150
requests/s in all, four GPUs with 10.5 GiB each for models, an objective of 100 ms, two partitions of two GPUs for
parallel transmission. The trace is public (Shahrad et al., "Serverless in the Wild", USENIX ATC 2020); any file in its
layout will do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fig14_drawing import draw_minutes
from figure_script import add_figure_arguments, run_figure
from origins import mark, with_setups
from results_file import read_results, write_results
from serving_figure import provenance_of
from serving_runs import GIB, SERVED, Run

MIX = {"gpt2_384": 28, "bert_base": 112, "roberta_base": 112}
PAPER = Run("trace", "", 0, 150, 21 * GIB // 2, objective_ms=100)


def main(arguments: Sequence[str] | None = None, mix: Mapping[str, int] = MIX, setting: Run = PAPER) -> int:
    """Serves so many instances of each model and draws. Returns 1 if there is nothing to draw."""
    options = _parse(arguments)

    def measure(path: Path) -> list[str]:
        _serve(options, path, mix, setting)
        return []

    return run_figure("fig14", options, measure, draw_minutes)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    titles = [method.title for method in SERVED]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=["0"], metavar="DEVICE", help="that serve; 0 1 or host:0")
    parser.add_argument("--simulate", action="store_true", help="serve in virtual time instead")
    parser.add_argument("--machine", default="h200x4", metavar="NAME", help="whose profiles are simulated")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="a day of the trace, or any file in its layout")
    parser.add_argument("--first-minute", type=int, default=0, metavar="N", help="where in it to begin")
    parser.add_argument("--minutes", type=int, default=180, metavar="N", help="that have the rate (default 180)")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="of these, only the first (default: all)")
    parser.add_argument(
        "--methods", nargs="+", default=titles, choices=titles, metavar="METHOD", help=", ".join(titles)
    )
    add_figure_arguments(parser)
    options = parser.parse_args(arguments)
    if not options.redraw and not options.trace:
        parser.error("say --trace FILE, or --redraw")
    return options


def _serve(options: argparse.Namespace, path: Path, mix: Mapping[str, int], setting: Run) -> None:
    """Writes the results after each method: in place of the rows that it had, simulated or measured, with all others
    as they were."""
    from fig14_serving import arrivals_of, measure_method, rows_of, simulate_method  # bring torch and the compiled core

    kept: dict[str, Any] = read_results(path) if path.exists() else {"rows": [], "provenance": {"setups": []}}
    origin = {**provenance_of(options), "trace": options.trace.name, "first_minute": options.first_minute}
    arrivals = arrivals_of(options, sum(mix.values()), setting)
    rows = list(kept["rows"])
    for method in SERVED:
        if method.title not in options.methods:
            continue
        if options.simulate:
            requests = simulate_method(options.machine, method, mix, setting, arrivals)
        else:
            requests = measure_method(options.devices, method, mix, setting, arrivals)
        rows = [row for row in rows if (row["title"], row["simulated"]) != (method.title, options.simulate)]
        rows += [mark(row, origin) for row in rows_of(requests, method, setting.objective_ms)]
        write_results(path, with_setups(origin, rows, kept["provenance"]["setups"]), summary=_summary(rows), rows=rows)


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By method: the worst minute's p99, and requests' goodput and cold rate over all minutes."""
    found = {}
    for title, simulated in dict.fromkeys((row["title"], row["simulated"]) for row in rows):
        mine = [row for row in rows if (row["title"], row["simulated"]) == (title, simulated) and row["requests"]]
        answered = [row for row in mine if row["p99_ms"] is not None]
        requests = sum(row["requests"] for row in mine)
        found[f"{title}, {'simulated' if simulated else 'measured'}"] = {
            "worst_p99_ms": max((row["p99_ms"] for row in answered), default=None),
            "goodput": sum(row["goodput"] * row["requests"] for row in mine) / requests if requests else None,
            "cold_rate": sum(row["cold_rate"] * row["requests"] for row in answered) / requests if requests else None,
        }
    return found


if __name__ == "__main__":
    sys.exit(main())
