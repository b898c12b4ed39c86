"""What the server's front costs: requests a second over HTTP, and how much longer a request takes than without it.

python experiments/front_rate.py --devices 0      # on 16 cores; host:0 where there is no GPU

A model of one layer, bodies of 4 KiB in binary form, kept connections, open-loop Poisson arrivals from several
processes on the same machine. The rate grows by steps until the server does not keep up; at half of the most that it
answered, the median is compared with that of an engine that is called in its own process at the same rate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results_file import add_result_arguments, write_results

ADDED_MS, HELD_PER_S = 1.0, 3000.0  # the bars
_STEP = 1.25  # from one rate to the next
_KEEPS_UP, _BEARABLE_MS = 0.97, 50.0  # of the offered rate, and of the median


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and writes front_rate.json."""
    from deepplan.client import run  # brings torch and the compiled core

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs=1, default=["0"], metavar="DEVICE", help="0 or host:0")
    parser.add_argument("--first-rate", type=float, default=500.0, metavar="R", help="requests/s (default 500)")
    parser.add_argument("--duration", type=float, default=8.0, metavar="SECONDS", help="of each rate (default 8)")
    parser.add_argument("--clients", type=int, default=4, metavar="N", help="processes that send (default 4)")
    add_result_arguments(parser)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        return run(_measure(options, Path(folder)))


async def _measure(options: argparse.Namespace, folder: Path) -> int:
    from deepplan.engine.devices import resolve_devices
    from front_load import in_process, over_http, write_model
    from provenance import provenance
    from serving_process import ServingProcess

    source, plans = write_model(folder), folder / "plans"
    flags = [f"--model={source}", f"--gpus={options.devices[0]}", "--gpu-memory=1GiB", f"--folder={plans}"]
    server = ServingProcess([*flags, "--max-concurrent=10000", "--no-log-requests"], folder)
    await server.start()
    rows: list[dict[str, Any]] = []
    try:
        await over_http(server.url, options.first_rate / 2, 1.0, options.clients)  # what only first requests cost
        rate_per_s = options.first_rate
        while not rows or _keeps_up(rows[-1]):
            rows.append({"front": "http", **await over_http(server.url, rate_per_s, options.duration, options.clients)})
            print("{offered_per_s:.0f}/s: {achieved_per_s:.0f}/s, p50 {p50_ms:.2f} ms".format(**rows[-1]), flush=True)
            rate_per_s *= _STEP
        most_per_s = max(row["achieved_per_s"] for row in rows)
        half = await over_http(server.url, most_per_s / 2, options.duration, options.clients)
    finally:
        await server.stop()
    alone = await in_process(source, options.devices[0], most_per_s / 2, options.duration, plans)
    summary = {
        "most_per_s": most_per_s,
        "half_rate_p50_ms": half["p50_ms"],
        "without_front_p50_ms": alone["p50_ms"],
        "added_ms": half["p50_ms"] - alone["p50_ms"],
        "held_per_s": max((row["offered_per_s"] for row in rows if _keeps_up(row)), default=0.0),
    }
    bars = {"added_ms": summary["added_ms"] <= ADDED_MS, "held_per_s": summary["held_per_s"] >= HELD_PER_S}
    origin = provenance(resolve_devices(options.devices), options.commit)
    rows.append({"front": "http at half of it", **half})
    write_results(options.results / "front_rate.json", origin, summary=summary, bars=bars, rows=rows)
    print(summary, bars)
    return 0


def _keeps_up(row: dict[str, Any]) -> bool:
    answered = row["achieved_per_s"] >= _KEEPS_UP * row["offered_per_s"] and row["not_answered"] == 0
    return bool(answered and row["p50_ms"] <= _BEARABLE_MS)


if __name__ == "__main__":
    sys.exit(main())
