"""Figure 11's models at one batch size after the other: export, profile, measure, write."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from deepplan import models
from deepplan.engine.devices import Devices, resolve_devices
from deepplan.engine.profiler import profile_source
from deepplan.engine.source import resolve
from measure_methods import eager_outputs, measure_methods
from methods import method_of
from origins import mark, with_setups
from provenance import provenance, same_setup
from results_file import read_results, write_results

DTYPE = "fp32"


def measure_batches(
    options: argparse.Namespace, path: Path, build: Callable[[str], torch.nn.Module] | None = None
) -> list[str]:
    """Measures each model at each batch size and writes the results after each; returns what failed."""
    devices = resolve_devices(options.devices)
    origin = provenance(devices, options.commit)
    kept = read_results(path) if path.exists() else None
    # Of one setup, as what is drawn as one line is compared.
    document = kept if kept is not None and same_setup(kept["provenance"], origin) else {"rows": [], "provenance": {}}
    rows, known = document["rows"], document["provenance"].get("setups", [])
    failed: list[str] = []
    for name, module, batch_size in _points(options, build or models.build, failed):
        try:
            measured = _measure_batch(module, batch_size, devices, options.repeat)
        except Exception:  # what the others cost is not lost to one of them
            traceback.print_exc()
            failed.append(f"{name} at batch {batch_size}")
            continue
        rows = [row for row in rows if (row["model"], row["batch"]) != (name, batch_size)]
        rows = sorted(rows + [mark(row, origin) for row in measured], key=lambda row: (row["model"], row["batch"]))
        write_results(path, with_setups(origin, rows, known), rows=rows)
    return failed


def _points(
    options: argparse.Namespace, build: Callable[[str], torch.nn.Module], failed: list[str]
) -> Iterator[tuple[str, torch.nn.Module, int]]:
    """Every model, built once, with every batch size; the names of those that cannot be built are added to `failed`."""
    for name in options.models:
        try:
            module = build(name)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        for batch_size in options.batch_sizes:
            yield name, module, batch_size


def _measure_batch(module: torch.nn.Module, batch_size: int, devices: Devices, repeats: int) -> list[dict[str, Any]]:
    """The rows of one model at one batch size: what can be read in place, and what it costs, depend on it."""
    started = time.perf_counter()
    source = resolve(module, dtype=DTYPE, batch_size=batch_size, keep=False)
    expected = eager_outputs(module, source, devices)
    profile = profile_source(source, devices, source.tensor_inputs(), lambda share: None)
    took_s = time.perf_counter() - started
    print(f"{source.name} at batch {batch_size}: profiled in {took_s:.0f} s", file=sys.stderr, flush=True)
    rows = []
    for found in measure_methods(source, profile, devices, expected, repeats):
        rows.append(_row_of(found))
        print(
            "{model:12} batch {batch:3} {title:10} {cold_ms:9.3f} ms, predicted {predicted_ms:.3f}, "
            "{throughput_per_s:.1f} requests/s".format(**rows[-1]),
            flush=True,
        )
    return rows


def _row_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Cold starts one right after the other answer a batch in each of their latencies."""
    return {
        "model": found["model"],
        "dtype": found["dtype"],
        "method": found["method"],
        "title": method_of(found).title,
        "batch": found["batch"],
        "devices": found["devices"],
        "cold_ms": found["median_ms"],
        "cold_p99_ms": found["p99_ms"],
        "throughput_per_s": found["batch"] / (found["median_ms"] / 1e3),
        "predicted_ms": found["predicted_ms"],
        "repeats": found["repeats"],
    }
