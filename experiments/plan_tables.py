"""The plans of the shipped profiles as Markdown tables, in docs/plans.md. Needs neither a GPU nor torch.

python experiments/plan_tables.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepplan.planning.documents import write_atomically
from deepplan.planning.plan import Plan
from deepplan.planning.profile import Profile
from deepplan.planning.search import search
from methods import METHODS, Method
from plan_runs import runs_of
from results_file import ROOT

INTRODUCTION = """# Plans

What `experiments/plan_tables.py` makes of the profiles that ship with deepplan: nothing here was typed in, and no GPU
is needed to make it again. `deepplan plan -m bert_base --machine NAME` prints the same plans layer by layer.
Latencies are predicted cold starts in ms; "in place" are bytes that stay in host memory, and the gap is how far the
prediction lies above a lower bound on any plan.
"""
# The policy of each engine. The engine's own table cannot be asked: it brings torch.
POLICIES = {"demand": "load_all", "pipeline": "pipeswitch", "deepplan": "optimal"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the file. Returns 1 if no profile is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", type=Path, default=ROOT / "deepplan" / "profiles", metavar="DIR")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "plans.md", metavar="FILE")
    options = parser.parse_args(arguments)
    by_machine = {
        folder.name: [Profile.load(path) for path in sorted(folder.glob("*.json"))]
        for folder in sorted(options.profiles.iterdir())
        if any(folder.glob("*.json"))
    }
    if not by_machine:
        print(f"there are no profiles in {options.profiles}; experiments/fig10.py measures some", file=sys.stderr)
        return 1
    lines = [INTRODUCTION]
    for machine, profiles in by_machine.items():
        lines += machine_section(machine, profiles)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out, "\n".join(lines))
    print(f"written: {options.out}")
    return 0


def machine_section(machine: str, profiles: Sequence[Profile]) -> Iterator[str]:
    """The lines of one machine: all methods of all models, then each model's best plans run by run."""
    yield f"## {machine}\n"
    yield "| model | dtype | method | links | predicted ms | stalled ms | loaded MB | in place MB | groups | gap |"
    yield "|---|---|---|---:|---:|---:|---:|---:|---:|---:|"
    best: list[tuple[Method, Plan]] = []
    for profile in profiles:
        for method in METHODS:
            if method.parallel and len(profile.links) == 1:
                continue
            plan = plan_of(profile, method)
            yield method_row(method, plan)
            if method.engine == "deepplan":
                best.append((method, plan))
    yield ""
    for method, plan in best:
        yield from plan_section(method, plan)


def plan_of(profile: Profile, method: Method) -> Plan:
    """The plan that the method executes on the profile's machine."""
    positions = range(len(profile.links)) if method.parallel else range(1)
    devices = [profile.devices[position] if profile.devices else position for position in positions]
    return search(profile, POLICIES[method.engine], devices=devices)


def method_row(method: Method, plan: Plan) -> str:
    """One line of the table of methods."""
    return (
        f"| {plan.model} | {plan.dtype} | {method.title} | {len(plan.links)} | {plan.predicted_ms:.2f} "
        f"| {plan.timeline.stall_ms:.2f} | {plan.loaded_bytes / 1e6:.1f} | {plan.direct_host_access_bytes / 1e6:.1f} "
        f"| {len(plan.routes)} | {100 * plan.gap:.1f} % |"
    )


def plan_section(method: Method, plan: Plan) -> Iterator[str]:
    """One plan, a line for each run of layers that share their fate; folded away until it is asked for."""
    yield f"<details><summary>{plan.model}, {plan.dtype}, {method.title}: {plan.predicted_ms:.2f} ms</summary>\n"
    yield "| layers | first | last | choice | group | link | MB | arrives ms | runs ms |"
    yield "|---:|---|---|---|---:|---:|---:|---:|---:|"
    for run in runs_of(plan):
        loaded = f"{run.group} | {run.route}" if run.group >= 0 else " | "
        arrives = f"{run.arrives_ms:.2f}" if run.arrives_ms is not None else ""
        yield (
            f"| {run.layers} | {run.first} | {run.last} | {run.choice} | {loaded} | {run.size_bytes / 1e6:.2f} "
            f"| {arrives} | {run.start_ms:.2f} to {run.end_ms:.2f} |"
        )
    yield "\n</details>\n"


if __name__ == "__main__":
    sys.exit(main())
