"""How close planned groups come to one plain copy, and how fast several links bring weights into one GPU.

python experiments/link_rates.py --devices 0 1 2 3
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from deepplan import _core, models
from deepplan.engine import machine
from deepplan.engine.binding import execution_plan
from deepplan.engine.devices import Devices, resolve_devices
from deepplan.engine.profiling_plans import one_group_per_layer
from deepplan.engine.source import resolve
from deepplan.planning.plan import Plan
from deepplan.planning.search import search
from known_profile import known_profile
from provenance import provenance
from results_file import ROOT, add_result_arguments, write_results
from runtime_session import open_session, timed_cold_run, transfer_ms

PIECES_MIB = (4, 8, 16)  # what is forwarded at once over a helper
RINGS = (2, 3, 4)  # staging buffers of a helper
LINK_COUNTS = (1, 2, 4)


class Table(torch.nn.Module):
    """A layer that owns `size_bytes` of weights and costs next to nothing to run."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(size_bytes // 4), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures both and writes link_rates.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=["0"], metavar="DEVICE", help="the target first")
    parser.add_argument("--model", default="bert_large", metavar="NAME", help="whose groups are measured")
    parser.add_argument("--repeat", type=int, default=20, metavar="N")
    parser.add_argument("--group-mib", type=int, default=32, metavar="MIB", help="of each group over several links")
    parser.add_argument("--groups", type=int, default=32, metavar="N")
    parser.add_argument("--profiles", type=Path, default=ROOT / "deepplan" / "profiles", metavar="DIR")
    add_result_arguments(parser)
    options = parser.parse_args(arguments)
    devices = resolve_devices(options.devices)
    planned = []
    for row in planned_groups(options.model, Devices(devices.names[:1]), options.profiles, options.repeat):
        print("{model}, {policy}: {groups} groups take {ratio:.4f} of one copy of the same size".format(**row))
        planned.append(row)
    striped = []
    for row in striped_rates(devices, options.groups, options.group_mib << 20, options.repeat):
        staging = "" if row["links"] == 1 else " in pieces of {piece_mib} MiB, rings of {ring}".format(**row)
        print(f"{row['gbps']:.1f} GB/s over {row['links']} links{staging}", flush=True)
        striped.append(row)
    origin = provenance(devices, options.commit)
    write_results(options.results / "link_rates.json", origin, planned_groups=planned, striped_rates=striped)
    return 0


def planned_groups(name: str, devices: Devices, profiles: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """What a plan loads over one link in its groups, and in a single one; for a plan that leaves layers in host memory
    and for one that loads them all."""
    source = resolve(models.build(name), dtype="fp32", keep=False)
    profile = known_profile(source, devices, profiles)
    inputs = [tensor.to(devices.torch_target) for tensor in source.tensor_inputs()]
    for policy in ("optimal", "pipeswitch"):
        plan = search(profile, policy, devices=devices.names)
        if not plan.routes:
            continue  # everything is read in place: there is nothing to compare
        in_groups = execution_plan(source.captured.graph, plan, 1)
        session = open_session(source, devices, in_groups)
        in_groups_ms = _median_transfer_ms(session, inputs, devices, repeats)
        session.rebind(in_one_group(plan))
        in_one_ms = _median_transfer_ms(session, inputs, devices, repeats)
        yield {
            "model": name,
            "policy": policy,
            "bytes": plan.loaded_bytes,
            "groups": len(plan.routes),
            "in_groups_ms": in_groups_ms,
            "in_one_copy_ms": in_one_ms,
            "ratio": in_groups_ms / in_one_ms,
            "repeats": repeats,
        }
        del session  # before the next one takes as much pinned memory


def _median_transfer_ms(session: _core.Session, inputs: list[torch.Tensor], devices: Devices, repeats: int) -> float:
    timed_cold_run(session, inputs, devices)
    return statistics.median(transfer_ms(timed_cold_run(session, inputs, devices)) for _ in range(repeats))


def in_one_group(plan: Plan) -> _core.ExecutionPlan:
    """The same placements, with everything that is loaded in one group."""
    loads = [layer.group >= 0 for layer in plan.layers]
    return _core.ExecutionPlan(loads, [0 if load else -1 for load in loads], [0])


def striped_rates(devices: Devices, groups: int, group_bytes: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Groups of equal size, consecutive ones on different links, for each number of links and kind of staging."""
    module = torch.nn.Sequential(*(Table(group_bytes) for _ in range(groups)))
    source = resolve(module.eval(), torch.zeros(1), keep=False)
    for count in (count for count in LINK_COUNTS if count <= len(devices.names)):
        used = Devices(devices.names[:count])
        plan = one_group_per_layer(source.captured.graph, count)
        staging = itertools.product(PIECES_MIB, RINGS) if count > 1 else [(PIECES_MIB[0], RINGS[0])]
        for piece_mib, ring in staging:
            links = _core.Links(machine.target(used.target), used.names[1:], piece_mib << 20, ring)
            session = open_session(source, used, plan.plan, links)
            inputs = [torch.zeros(1, device=used.torch_target)]
            timed_cold_run(session, inputs, used)
            total_bytes = sum(plan.group_bytes)
            rates = [total_bytes / (transfer_ms(timed_cold_run(session, inputs, used)) * 1e6) for _ in range(repeats)]
            yield {
                "links": count,
                "piece_mib": piece_mib if count > 1 else None,  # nothing is forwarded over a single link
                "ring": ring if count > 1 else None,
                "bytes": total_bytes,
                "gbps": statistics.median(rates),
                "min_gbps": min(rates),
                "max_gbps": max(rates),
                "repeats": repeats,
            }
            del session, links


if __name__ == "__main__":
    sys.exit(main())
