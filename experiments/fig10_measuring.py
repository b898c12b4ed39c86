"""Figure 10's models one after the other: export, profile, measure, write."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from deepplan import models
from deepplan.engine.devices import Devices, resolve_devices
from deepplan.engine.profiler import profile_source
from deepplan.engine.source import resolve
from measure_methods import eager_outputs, measure_methods
from methods import method_of
from provenance import provenance, same_setup
from results_file import read_results, write_results
from summary import summarise

DTYPE = "fp32"


def measure_models(
    options: argparse.Namespace, path: Path, build: Callable[[str], torch.nn.Module] | None = None
) -> list[str]:
    """Measures each model and writes the results after each; returns the names of those that failed."""
    devices = resolve_devices(options.devices)
    origin = provenance(devices, options.commit)
    kept = read_results(path) if path.exists() else None
    rows = list(kept["rows"]) if kept and same_setup(kept["provenance"], origin) else []
    failed = []
    for name in options.models:
        try:
            measured = _measure_model((build or models.build)(name), devices, options, origin["machine"])
        except Exception:  # what the other models cost is not lost to one of them
            traceback.print_exc()
            failed.append(name)
            continue
        rows = [row for row in rows if row["model"] != name] + measured
        write_results(path, origin, summary=summarise(rows), rows=rows)
    return failed


def _measure_model(
    module: torch.nn.Module, devices: Devices, options: argparse.Namespace, machine: str
) -> list[dict[str, Any]]:
    """The model's rows. Its profile is saved when they are complete, so that the two belong together."""
    started = time.perf_counter()
    source = resolve(module, dtype=DTYPE, keep=False)
    expected = eager_outputs(module, source, devices)
    _note(f"{source.name}: exported", started)
    profile = profile_source(source, devices, source.tensor_inputs(), lambda share: None)
    _note(f"{source.name}: profiled", started)
    rows = []
    for row in measure_methods(source, profile, devices, expected, options.repeat):
        print(_line(row), flush=True)
        rows.append(row)
    _note(f"{source.name}: measured", started)
    folder = options.profiles / machine
    folder.mkdir(parents=True, exist_ok=True)
    profile.save(folder / f"{source.name}-{DTYPE}-b{source.batch_size}.json")
    return rows


def _note(what: str, started: float) -> None:
    print(f"{what} after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['model']:14} {method_of(row).title:10} {row['median_ms']:9.3f} ms "
        f"({row['min_ms']:.3f} to {row['max_ms']:.3f}), predicted {row['predicted_ms']:.3f}, "
        f"warm {row['warm_ms']:.3f}, floor {row['floor_ms']:.3f}, stalled {row['stall_ms']:.3f}, "
        f"loaded {row['loaded_bytes'] / 1e6:.1f} MB, in place {row['direct_host_access_bytes'] / 1e6:.1f} MB"
    )
