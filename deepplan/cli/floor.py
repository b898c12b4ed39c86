"""`deepplan benchmark --floor`: every engine that starts cold, beside what the hardware allows at best."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepplan.errors import InvalidInputError
from deepplan.planning.table import text_table

if TYPE_CHECKING:
    from deepplan.cli.planning import Job
    from deepplan.engine.floor import Floor
    from deepplan.engine.floor_rows import FloorRow
    from deepplan.engine.resident import Resident
    from deepplan.planning.profile import Profile

_COLUMNS = ("links", "cold ms", "p99 ms", "floor ms", "ratio", "predicted ms", "PipeSwitch ms", "on-demand ms")
_HOW = {
    "graph replay": "the module as one CUDA graph",
    "eager": "the module itself, launched operator by operator",
    "warm": "a warm call of deepplan's own: an exported model has no module to compare with",
}


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints. Raises InvalidInputError for flags that choose what `--floor` measures all of."""
    for flag, value in (("-e", arguments.engine), ("--policy", arguments.policy), ("--trace", arguments.trace)):
        if value is not None:
            raise InvalidInputError(
                f"{flag} {value} does not go with --floor, which measures all engines; leave it out"
            )
    from deepplan.cli.measurement import default_repeats
    from deepplan.cli.planning import fitting_profile, open_job
    from deepplan.cli.progress import progress
    from deepplan.engine.floor import link_counts, measure_floor
    from deepplan.engine.floor_rows import measure_rows
    from deepplan.planning.documents import write_atomically

    job = open_job(arguments)
    profile = fitting_profile(job)
    with progress(f"measuring the floor of {job.source.name}"):
        floor = measure_floor(job.source.captured.graph, _resident(job, profile), job.devices)
    counts = link_counts(len(job.devices.names))
    with progress(f"measuring cold starts of {job.source.name}") as report:
        rows = []
        for row in measure_rows(
            job.source,
            profile,
            job.devices,
            floor,
            counts,
            lambda _, plan: arguments.repeat or default_repeats(plan.predicted_ms),
            coding=arguments.coding,
        ):
            rows.append(row)
            report(min(1.0, len(rows) / (4 * len(counts))))
        report(1.0)
    document = json.dumps({"resident": floor.resident.how, "rows": [row.to_json() for row in rows]}, indent=2)
    if arguments.json == "-":
        print(document)
        return 0
    print("\n".join(_lines(job, profile, floor, rows)))
    if arguments.json is not None:
        write_atomically(arguments.json, document + "\n")
    return 0


def _resident(job: Job, profile: Profile) -> Resident:
    """Of the module; where there is none, of a session."""
    from deepplan.engine.benchmark import measure, policy_of
    from deepplan.engine.devices import Devices
    from deepplan.engine.resident import Resident, measure_resident
    from deepplan.engine.session import Session
    from deepplan.planning.search import search

    if job.module is not None:
        return measure_resident(job.module, job.source, job.devices)
    target = Devices(job.devices.names[:1])
    plan = search(profile, policy_of("in_memory"), devices=target.names)
    with Session(job.source, plan, target) as session:
        warm = measure(session, job.source.tensor_inputs(), warm_only=True, repeats=20)
    return Resident(warm.median_ms, "warm")


def _lines(job: Job, profile: Profile, floor: Floor, rows: Sequence[FloorRow]) -> list[str]:
    made_for = f"{job.source.dtype or 'dtype as exported'}, batch {job.source.batch_size}"
    by_links: dict[int, dict[str, FloorRow]] = {}
    for row in rows:
        by_links.setdefault(row.links, {})[row.method] = row
    lines = [
        f"{job.source.name} ({made_for}) on {', '.join(job.devices.names)} of {profile.machine}",
        f"Resident        : {floor.resident.latency_ms:.4f} ms, {_HOW[floor.resident.how]}",
        f"Must cross      : {floor.crossing_bytes} bytes, {floor.crossing_ms(1):.4f} ms over one link at "
        f"{floor.link_gbps:.2f} GB/s",
        f"Runs            : {', '.join(f'{row.repeats} {row.method}' for row in by_links[rows[0].links].values())}",
        text_table([_COLUMNS, *(_cells(methods) for methods in by_links.values())], left=()),
    ]
    if job.devices.is_host:
        lines.append(f"host device: ordinary memory stands in for GPU memory, links {job.link_gbps:g} GB/s")
    return lines


def _cells(methods: dict[str, FloorRow]) -> tuple[str, ...]:
    best = methods["deepplan"]  # the last such row: coded, where the plan has weights cross so
    latencies_ms = (best.cold_ms, best.cold_p99_ms, best.floor_ms)
    others_ms = (best.predicted_ms, methods["pipeline"].cold_ms, methods["demand"].cold_ms)
    return (
        str(best.links),
        *(f"{value:.4f}" for value in latencies_ms),
        f"{best.ratio:.3f}",
        *(f"{value:.4f}" for value in others_ms),
    )
