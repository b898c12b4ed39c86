"""Figure 14: the trace of Azure Functions, three models served from host memory, minute by minute.

python experiments/fig14.py --simulate --trace invocations_per_function_md.anon.d01.csv
python experiments/fig14.py --redraw             # draws from the committed results

DeepPlan (EuroSys'23), section 5.3: GPT-2 over 384 tokens, BERT-Base and RoBERTa-Base, 1 : 4 : 4 of 252 instances, 150
requests/s in all, four GPUs with 10.5 GiB each for models, an objective of 100 ms, two partitions of two GPUs for
parallel transmission. The trace is public (Shahrad et al., "Serverless in the Wild", USENIX ATC 2020); any file in its
layout will do. In virtual time only so far.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fig14_drawing import draw_minutes
from figure_script import add_figure_arguments, run_figure
from results_file import write_results
from serving_figure import provenance_of
from serving_runs import GIB, SERVED, links_of

MIX = {"gpt2_384": 28, "bert_base": 112, "roberta_base": 112}
RATE_PER_S, GPUS, GPU_MEMORY_BYTES, OBJECTIVE_MS = 150, 4, 21 * GIB // 2, 100.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulates and draws. Returns 1 if there is nothing to draw."""
    options = _parse(arguments)

    def measure(path: Path) -> list[str]:
        rows = [row for method in SERVED for row in _minutes(options, method)]
        write_results(
            path,
            {**provenance_of(options), "trace": options.trace.name, "first_minute": options.first_minute},
            summary=_summary(rows),
            rows=rows,
        )
        return []

    return run_figure("fig14", options, measure, draw_minutes)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", action="store_true", help="serve in virtual time; not yet for real")
    parser.add_argument("--machine", default="h200x4", metavar="NAME", help="whose profiles are simulated")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="a day of the trace, or any file in its layout")
    parser.add_argument("--first-minute", type=int, default=0, metavar="N", help="where in it to begin")
    parser.add_argument("--minutes", type=int, default=180, metavar="N", help="how long (default 180)")
    add_figure_arguments(parser)
    options = parser.parse_args(arguments)
    if not options.redraw and not (options.simulate and options.trace):
        parser.error("say --simulate and --trace FILE, or --redraw")
    return options


def _minutes(options: argparse.Namespace, method: Any) -> list[dict[str, Any]]:
    """A row for each minute of one method. Nothing is refused, as in the paper."""
    from deepplan.serving.azure_trace import azure  # bring torch and the compiled core
    from deepplan.serving.simulation import simulate_serving
    from serving_runs import Run
    from serving_sweep import served_model

    runs = [
        Run("trace", model, instances, RATE_PER_S, GPU_MEMORY_BYTES, OBJECTIVE_MS) for model, instances in MIX.items()
    ]
    result = simulate_serving(
        [served_model(options.machine, run, method) for run in runs],
        azure(
            options.trace,
            total_rate_per_s=RATE_PER_S,
            instance_count=sum(MIX.values()),
            first_minute=options.first_minute,
            minutes=options.minutes,
        ),
        gpus=GPUS,
        gpu_memory_bytes=GPU_MEMORY_BYTES,
        most_links=links_of(method),
    )
    by_minute = result.per_minute(OBJECTIVE_MS)
    return [
        {
            "minute": minute,
            "method": method.engine,
            "title": method.title,
            "links": links_of(method),
            "simulated": True,
            "machine": options.machine,
            "offered_per_s": float(by_minute.requests[minute]) / 60,
            **_of_requests(by_minute, minute),
        }
        for minute in range(options.minutes)
    ]


def _of_requests(by_minute: Any, minute: int) -> dict[str, float | None]:
    """None where no request came."""
    fields = ("p99_ms", "goodput", "cold_rate")
    return {field: float(getattr(by_minute, field)[minute]) if by_minute.requests[minute] else None for field in fields}


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By method: the worst minute's p99, and requests' goodput and cold rate over all minutes."""
    found = {}
    for title in dict.fromkeys(row["title"] for row in rows):
        mine = [row for row in rows if row["title"] == title and row["offered_per_s"] > 0]
        requests = sum(row["offered_per_s"] for row in mine)
        found[title] = {
            "worst_p99_ms": max(row["p99_ms"] for row in mine),
            "goodput": sum(row["goodput"] * row["offered_per_s"] for row in mine) / requests,
            "cold_rate": sum(row["cold_rate"] * row["offered_per_s"] for row in mine) / requests,
        }
    return found


if __name__ == "__main__":
    sys.exit(main())
