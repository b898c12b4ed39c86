"""Thousands of cold starts of eight models that do not fit on the GPU together: what grows, what errs, what slows down.

python experiments/soak.py --devices 0 --cold-starts 10000

All models are loaded, then called in random order. Each is evicted before its call if it is still there; it mostly is
not, since the GPU's budget holds a share of the weights only. Every answer is compared with the eager model's. Returns
1 if a check failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fig10 import MODELS
from results_file import ROOT, add_result_arguments, write_results


def main(arguments: Sequence[str] | None = None, build: Callable[[str], Any] | None = None) -> int:
    """Runs the experiment and writes soak.json.

    `build` replaces the zoo: from a name to a module that carries its `zoo_name` and `example_inputs`.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.cold_starts < 1:
        parser.error(f"--cold-starts {options.cold_starts}: at least 1 is needed")
    if not 0 < options.budget_share < 1:
        parser.error(f"--budget-share {options.budget_share:g}: a share of all weights, between 0 and 1")
    from deepplan.engine.devices import resolve_devices
    from provenance import provenance
    from soak_running import soak
    from soak_summary import checks, rows

    devices = resolve_devices(options.devices)
    done = soak(options, devices, build)
    found, passed = rows(done), checks(done, options.most_drift)
    for row in found:
        print(_line(row))
    for name, holds in passed.items():
        print(f"{name}: {'yes' if holds else 'NO'}")
    write_results(
        options.results / "soak.json",
        provenance(devices, options.commit),
        setting={
            "devices": list(devices.names),
            "order_seed": options.seed,
            "budget_bytes": done.budget_bytes,
            "weight_bytes": done.weight_bytes,
            "cold_starts": len(done.starts),
            "wanted_cold_starts": options.cold_starts,
            "seconds": done.seconds,
        },
        checks=passed,
        rows=found,
        memory=done.memory,
    )
    return 0 if all(passed.values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME")
    parser.add_argument("--devices", nargs="+", default=["0"], metavar="DEVICE", help="the target first; 0 1 or host:0")
    parser.add_argument("--cold-starts", type=int, default=10_000, metavar="N", help="(default 10000)")
    parser.add_argument(
        "--budget-share", type=float, default=0.6, metavar="SHARE", help="of all weights, on the GPU (default 0.6)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the order of models (default 0)")
    parser.add_argument(
        "--most-drift",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="by which the last tenth's median may be above the first's (default 0.1)",
    )
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="begin no other cold start after so long")
    parser.add_argument(
        "--profile-budget", type=float, default=5.0, metavar="SECONDS", help="for each kind of profiled run (default 5)"
    )
    parser.add_argument("--profiles", type=Path, default=ROOT / "deepplan" / "profiles", metavar="DIR")
    add_result_arguments(parser)
    return parser


def _line(row: dict[str, Any]) -> str:
    return (
        "{model:14} {cold_starts:6} cold starts, {driven_out} of them driven out by others, {by_operators} launched by "
        "operators, {wrong} wrong; {median_ms:.3f} ms (p99 {p99_ms:.3f}), from {first_ms:.3f} to {last_ms:.3f}"
    ).format(**row)


if __name__ == "__main__":
    sys.exit(main())
