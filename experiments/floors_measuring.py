"""The floors of one model and dtype after the other: export, profile, measure, write."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from deepplan import models
from deepplan.engine import precision
from deepplan.engine.devices import Devices, resolve_devices
from deepplan.engine.floor import link_counts, measure_floor
from deepplan.engine.floor_rows import measure_rows
from deepplan.engine.profiler import profile_source
from deepplan.engine.resident import measure_resident
from deepplan.engine.source import Source, resolve
from floors_summary import summarise, title
from measure_methods import check_outputs
from origins import mark, origin_of, with_setups
from provenance import provenance, same_setup
from results_file import read_results, write_results

Build = Callable[[str], torch.nn.Module]

DEMAND_REPEATS = 20
# The same kernels usually give equal bits. With weights elsewhere, or inside a graph, cuBLAS may choose another one,
# which rounds its tf32 and bf16 products otherwise: a last place of bf16 is 0.8 %.
TOLERANCE = {"tf32": 1e-2, "bf16": 1e-2}
REPLAY_TOLERANCE = 1e-2  # of the graph, of which only the latency is used


def measure_models(options: argparse.Namespace, path: Path, build: Build | None = None) -> list[str]:
    """Measures each model in each dtype and writes the results after each; returns the names of those that failed."""
    started = time.perf_counter()
    devices = resolve_devices(options.devices)
    counts = sorted(set(options.links or link_counts(len(devices.names))))
    origin = provenance(devices, options.commit)
    kept = read_results(path) if path.exists() else {"rows": [], "provenance": {"setups": []}}
    rows, setups = list(kept["rows"]), kept["provenance"]["setups"]
    alike = {origin_of(setup) for setup in setups if same_setup(setup, origin)}
    done = {(row["model"], row["dtype"]) for row in rows if origin_of(row) in alike}
    pairs = [(name, dtype) for name in dict.fromkeys(options.models) for dtype in dict.fromkeys(options.dtypes)]
    pairs.sort(key=lambda pair: pair in done)
    exports = _Exports(build or models.build)
    failed = []
    for index, (name, dtype) in enumerate(pairs):
        if options.time_limit is not None and time.perf_counter() - started > options.time_limit:
            left = ", ".join(f"{model} {dtype}" for model, dtype in pairs[index:])
            print(f"time is up after {options.time_limit:g} s; not measured: {left}", flush=True)
            break
        try:
            begun = time.perf_counter()
            module, source = exports.of(name, dtype)
            _note(f"  {name} {dtype}: exported", begun)
            found = list(_measure(module, source, devices, counts, options, origin))
        except Exception:  # what the others cost is not lost to one of them
            traceback.print_exc()
            failed.append(f"{name} {dtype}")
            continue
        rows = [row for row in rows if not _is_of(row, name, dtype, counts)]
        rows += found
        write_results(path, with_setups(origin, rows, setups), summary=summarise(rows), rows=rows)
        _note(f"{name} {dtype} measured, {index + 1} of {len(pairs)}", started)
    return failed


class _Exports:
    """The last model's module and sources: tf32 runs the graph and the weights of fp32, which need no second export."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._name = ""
        self._built: torch.nn.Module | None = None
        self._exported: dict[str, tuple[torch.nn.Module, Source]] = {}

    def of(self, name: str, dtype: str) -> tuple[torch.nn.Module, Source]:
        """The module, cast, and the source made from it."""
        if self._name != name or self._built is None:
            self._name, self._built = name, None
            self._exported.clear()  # before the next one takes as much memory
            self._built = self._build(name)
        stored_as = "fp32" if dtype == "tf32" else dtype
        if stored_as not in self._exported:
            self._exported.clear()
            module, _, _ = precision.prepare(self._built, (), {}, stored_as)
            self._exported[stored_as] = module, resolve(module, dtype=stored_as, keep=False)
        module, source = self._exported[stored_as]
        return module, replace(source, dtype=dtype)


def _measure(
    module: torch.nn.Module,
    source: Source,
    devices: Devices,
    counts: list[int],
    options: argparse.Namespace,
    origin: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """The rows of one model in one dtype. Its profile is saved after the last one, so that they belong together."""
    started = time.perf_counter()
    tolerance = TOLERANCE.get(source.dtype)
    resident = measure_resident(module, source, devices)
    expected = resident.outputs
    if resident.replayed_outputs is not None:
        torch.testing.assert_close(resident.replayed_outputs, expected, rtol=REPLAY_TOLERANCE, atol=REPLAY_TOLERANCE)
    floor = measure_floor(source.captured.graph, resident, devices)
    _note(f"  {source.name} {source.dtype}: {resident.how} took {resident.latency_ms:.3f} ms;", started)
    profile = profile_source(
        source, devices, source.tensor_inputs(), lambda share: None, budget_s=options.profile_budget
    )
    _note(f"  {source.name} {source.dtype}: profiled", started)
    for row in measure_rows(
        source,
        profile,
        devices,
        floor,
        counts,
        repeats=lambda engine, _: min(options.repeat, DEMAND_REPEATS) if engine == "demand" else options.repeat,
        check=lambda session: check_outputs(session, source, expected, tolerance),
    ):
        marked = mark({**row.to_json(), "equal": True}, origin)  # check_outputs would have raised
        print(_line(marked), flush=True)
        yield marked
    folder = options.profiles / origin["machine"]
    folder.mkdir(parents=True, exist_ok=True)
    profile.save(folder / f"{source.name}-{source.dtype}-b{source.batch_size}.json")


def _is_of(row: dict[str, Any], name: str, dtype: str, counts: list[int]) -> bool:
    return (row["model"], row["dtype"]) == (name, dtype) and row["links"] in counts


def _note(what: str, started: float) -> None:
    print(f"{what} after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def _line(row: dict[str, Any]) -> str:
    return (
        "{title:50} {cold_ms:9.3f} ms (p99 {cold_p99_ms:.3f}), {ratio:.3f} of the floor {floor_ms:.3f}, "
        "predicted {predicted_ms:.3f}, warm {warm_ms:.3f}, stalled {stall_ms:.3f}"
    ).format(title=title(row), **row)
