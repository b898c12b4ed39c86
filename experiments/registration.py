"""How long a model takes to be registered, its plan and graph known, and how fast its weights reach pinned memory.

python experiments/registration.py --devices 0

From a module whose export is kept, and from an exported folder that lies in the page cache; with nothing reserved in
pinned memory, and with enough. The process has loaded a model before: libraries are there. Weights are not coded, and
nothing is run: neither warm-up nor capture is counted. Once pinned memory is there, 1.4 GB are to be registered within
a second, and to reach it at 10 GB/s: `bars` says whether they do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import deepplan
from deepplan import _core, models
from deepplan.engine import session as sessions
from deepplan.engine import source as sources
from deepplan.engine.devices import Devices, resolve_devices
from provenance import provenance
from results_file import add_result_arguments, write_results

BAR_BYTES, BAR_SECONDS, BAR_GBPS = 1.4e9, 1.0, 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and writes registration.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=["0"], metavar="DEVICE", help="the target first")
    parser.add_argument("--model", default="gpt2_medium", metavar="NAME", help="(default gpt2_medium: 1.4 GB)")
    parser.add_argument("--repeat", type=int, default=5, metavar="N")
    add_result_arguments(parser)
    options = parser.parse_args(arguments)
    devices = resolve_devices(options.devices)
    rows = []
    for row in registrations(models.build(options.model), devices, options.repeat):
        print(
            "{source}, pinned memory {arena}: {load_s:.3f} s, of which arena {arena_s:.3f}, fill {fill_s:.3f} "
            "({fill_gbps:.1f} GB/s), rest {rest_s:.3f}".format(**row),
            flush=True,
        )
        rows.append(row)
    met = bars(rows)
    for name, bar in met.items():
        print(f"{name}: {bar}")
    origin = provenance(devices, options.commit)
    write_results(options.results / "registration.json", origin, bars=met, registrations=rows)
    return 0


def bars(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The slowest medians of loads into pinned memory that is there, and whether they meet the bars.

    Another size is held against a time in proportion.
    """
    reserved = [row for row in rows if row["arena"] == "reserved"]
    load_s = max(row["load_s"] * BAR_BYTES / row["bytes"] for row in reserved)
    fill_gbps = min(row["fill_gbps"] for row in reserved)
    return {
        "load_s_for_1_4_gb": load_s,
        "fill_gbps": fill_gbps,
        "loads_within_a_second": load_s < BAR_SECONDS,
        "fills_at_10_gbps": fill_gbps >= BAR_GBPS,
    }


def registrations(module: torch.nn.Module, devices: Devices, repeats: int) -> Iterator[dict[str, Any]]:
    """One row for each source and state of the arena: medians of `repeats` loads, the whole load's range, too."""
    plan = deepplan.plan(module, devices=devices.names, coding=False)
    with tempfile.TemporaryDirectory() as folder:
        with deepplan.load(module, plan) as session:
            session.save(folder)
            pinned_bytes = session.pinned_bytes
        for source in ("module", "folder"):
            model = module if source == "module" else Path(folder)
            for arena in ("empty", "reserved"):
                runs = [_timed_load(model, plan, pinned_bytes if arena == "reserved" else 0) for _ in range(repeats)]
                yield {"source": source, "arena": arena, "bytes": pinned_bytes, **_summary(runs), "repeats": repeats}


def _timed_load(model: torch.nn.Module | Path, plan: deepplan.Plan, reserve_bytes: int) -> dict[str, float]:
    """Seconds of one load and of its parts."""
    if isinstance(model, torch.nn.Module):
        sources.resolve(model)  # exports it, unless that is kept
    _core.trim_arena()
    _core.reserve_arena(reserve_bytes)
    with _clock(_core, "Session") as arena, _clock(sessions, "fill") as fill:
        begin = time.perf_counter()
        session = deepplan.load(model, plan, launch="operators")
        load_s = time.perf_counter() - begin
    bytes_filled = session.pinned_bytes
    session.close()
    return {
        "load_s": load_s,
        "arena_s": sum(arena),
        "fill_s": sum(fill),
        "rest_s": load_s - sum(arena) - sum(fill),
        "fill_gbps": bytes_filled / sum(fill) / 1e9,
    }


@contextmanager
def _clock(owner: Any, name: str) -> Iterator[list[float]]:
    """The seconds that each call of `owner.name` takes meanwhile."""
    function: Callable[..., Any] = getattr(owner, name)
    seconds: list[float] = []

    def timed(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - begin)

    setattr(owner, name, timed)
    try:
        yield seconds
    finally:
        setattr(owner, name, function)


def _summary(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    loads = [run["load_s"] for run in runs]
    return {**medians, "load_min_s": min(loads), "load_max_s": max(loads)}


if __name__ == "__main__":
    sys.exit(main())
