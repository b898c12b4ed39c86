"""What a warm call costs when instances of a model share its graph, which then moves from one's weights to the other's.

python experiments/shared_graphs.py --devices 0

Two instances, both resident. A call goes from inputs on the CPU to outputs there, as a server's does: operator by
operator; as a launch of the graph for the same instance again; and for the two in turns, so that it moves every time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from deepplan import _core
from deepplan.engine import machine, precision
from deepplan.engine.devices import Devices, resolve_devices
from deepplan.engine.filling import fill
from deepplan.engine.profiling_plans import one_group
from deepplan.engine.source import resolve
from deepplan.serving.captured import capture_runs
from provenance import provenance
from results_file import add_result_arguments, write_results

PAIRS = ("bert_base:fp32", "bert_base:bf16", "gpt2:bf16", "resnet50:bf16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and writes shared_graphs.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=["0"], metavar="DEVICE", help="the target alone")
    parser.add_argument("--models", nargs="+", default=list(PAIRS), metavar="NAME:DTYPE")
    parser.add_argument("--repeat", type=int, default=200, metavar="N")
    add_result_arguments(parser)
    options = parser.parse_args(arguments)
    devices = resolve_devices(options.devices)
    rows = []
    for pair in options.models:
        row = measured(*pair.split(":"), devices, options.repeat)
        print(
            "{model} {dtype}: operators {operators_ms:.3f} ms, {launch} {same_ms:.3f}, in turns {turns_ms:.3f}".format(
                **row
            )
        )
        rows.append(row)
    write_results(options.results / "shared_graphs.json", provenance(devices, options.commit), rows=rows)
    return 0


def measured(model: str, dtype: str, devices: Devices, repeats: int) -> dict[str, Any]:
    """Medians in ms with the quartiles around them; `launch` is "graph" where there was one to share."""
    source = resolve(model, dtype=dtype)
    graph = source.captured.graph
    program, links, plan = _core.Program(graph, devices.torch_target), machine.links(devices), one_group(graph)
    instances = [_core.Session(model, program, links, plan) for _ in range(2)]
    inputs = source.tensor_inputs()
    with precision.precision(dtype):
        for session in instances:
            fill(session, source.captured)
        operators = _times_ms(instances[:1], inputs, repeats)
        captures = capture_runs(tuple((((1, session),),) for session in instances), {1: inputs}, [devices], dtype)
        same, turns = _times_ms(instances[:1], inputs, repeats), _times_ms(instances, inputs, repeats)
    launch = "graph" if instances[1].last_was_captured else "operators"
    del instances
    for runs in captures:
        runs.forget()
    return {
        "model": model,
        "dtype": dtype,
        "launch": launch,
        **_summary("operators", operators),
        **_summary("same", same),
        **_summary("turns", turns),
        "repeats": repeats,
    }


def _times_ms(instances: Sequence[_core.Session], inputs: Sequence[torch.Tensor], repeats: int) -> list[float]:
    """Of calls of the instances in turn, all of which are warm."""
    for session in instances:
        for _ in range(3):
            session.answer(list(inputs))
    times_ms = []
    for call in range(repeats):
        begin = time.perf_counter()
        instances[call % len(instances)].answer(list(inputs))
        times_ms.append((time.perf_counter() - begin) * 1e3)
    return times_ms


def _summary(name: str, times_ms: Sequence[float]) -> Mapping[str, float]:
    low, median, high = statistics.quantiles(times_ms, n=4)
    return {f"{name}_ms": median, f"{name}_low_ms": low, f"{name}_high_ms": high}


if __name__ == "__main__":
    sys.exit(main())
