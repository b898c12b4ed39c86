"""Measure a model's cold starts, or with the engine in_memory its warm runs.

Plans first where there is no plan yet. A latency runs from the call to the output being ready, with the inputs on the
target; cold starts begin with nothing of the model in device memory.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from deepplan.cli import floor
from deepplan.cli.arguments import (
    add_coding,
    add_devices,
    add_folder,
    add_model,
    add_policy,
    check_count,
    check_folder,
    check_model_arguments,
    check_output_file,
    check_policy,
)

if TYPE_CHECKING:
    from deepplan.cli.measurement import Measurement
    from deepplan.planning.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of `deepplan benchmark`."""
    add_model(parser)
    parser.add_argument(
        "-e",
        "--engine",
        metavar="ENGINE",
        help="in_memory: everything is resident already\n"
        "demand: load everything, then run\n"
        "pipeline: run each group of layers as it arrives (PipeSwitch; with several devices: PT)\n"
        "deepplan: by a plan that may leave layers in host memory (the default)",
    )
    add_devices(parser)
    add_policy(parser)
    add_coding(parser)
    add_folder(parser)
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="runs to measure (default: 5 to 100 by the predicted latency)"
    )
    parser.add_argument(
        "--floor",
        action="store_true",
        help="all engines that start cold, over 1, 2, 4, ... links, beside what the hardware allows at best:\n"
        "the resident model as one CUDA graph, or the time in which its bytes can cross the links",
    )
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - prints it instead of the text")
    parser.add_argument("--trace", metavar="FILE", help="write one run as Chrome trace JSON, for ui.perfetto.dev")


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints."""
    check_model_arguments(arguments)
    check_count("--repeat", arguments.repeat)
    check_policy(arguments.policy)
    check_folder(arguments.folder)
    check_output_file("--json", arguments.json, stdout=True)
    check_output_file("--trace", arguments.trace)
    if arguments.floor:
        return floor.run(arguments)
    arguments.engine = arguments.engine or "deepplan"
    from deepplan.cli.measurement import measure_method
    from deepplan.engine.benchmark import policy_of
    from deepplan.planning.documents import write_atomically

    policy = policy_of(arguments.engine, arguments.policy)
    measurement = measure_method(arguments, policy)
    if arguments.json == "-":
        print(json.dumps(measurement.to_json(), indent=2))
        return 0
    print("\n".join(_lines(measurement)))
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(measurement.to_json(), indent=2) + "\n")
    return 0


def _lines(measured: Measurement) -> list[str]:
    """The first two lines are those of the DeepPlan artifact's benchmark."""
    latencies, plan = measured.latencies, measured.plan
    lines = [
        f"Benchmarking Inference {plan.model}",
        f"Average Latency : {latencies.mean_ms:.4f} ms",
        f"Min Latency     : {min(latencies.cold_ms):.4f} ms",
        f"Median Latency  : {latencies.median_ms:.4f} ms",
        f"P99 Latency     : {latencies.p99_ms:.4f} ms",
        f"Stall           : {latencies.stall_ms:.4f} ms",
        f"Loaded          : {plan.loaded_bytes} bytes in {len(plan.routes)} groups",
        *_coded(plan),
        f"Left to DHA     : {plan.direct_host_access_bytes} bytes",
        f"Predicted       : {_predicted(measured)}",
        f"Warm Latency    : {latencies.warm_ms:.4f} ms",
        f"Runs            : {len(latencies.cold_ms)} {'warm' if measured.engine == 'in_memory' else 'cold'}, engine "
        f"{measured.engine}, policy {plan.policy}, {plan.dtype or 'dtype as exported'}, batch {plan.batch_size}",
        f"Devices         : {', '.join(measured.devices)} of {plan.machine}",
    ]
    if measured.host_link_gbps is not None:
        lines.append(f"host device: ordinary memory stands in for GPU memory, links {measured.host_link_gbps:g} GB/s")
    return lines


def _coded(plan: Plan) -> list[str]:
    if not any(plan.coded):
        return []
    return [
        f"Coded           : {plan.coded_plain_bytes} of {plan.loaded_bytes} bytes in {sum(plan.coded)} groups cross as "
        f"{plan.coded_bytes} bytes"
    ]


def _predicted(measured: Measurement) -> str:
    if measured.predicted_ms is None:
        return "not known (no profile of this model lies in the folder)"
    above = 100 * (measured.latencies.median_ms / measured.predicted_ms - 1)
    return (
        f"{measured.predicted_ms:.4f} ms; the measured median is {abs(above):.1f} % {'above' if above > 0 else 'below'}"
    )
