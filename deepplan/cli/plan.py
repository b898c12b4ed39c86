"""Search the plan by which a model is brought onto a GPU, and show it.

A profile that fits is taken from the folder, else the model is profiled first. With --machine a profile that ships
with deepplan is used instead and nothing is measured.
"""

from __future__ import annotations

import argparse

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
    device_list,
)
from deepplan.errors import InvalidInputError
from deepplan.planning.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of `deepplan plan`."""
    add_model(parser)
    add_devices(parser)
    add_policy(parser)
    add_coding(parser)
    add_folder(parser)
    parser.add_argument("--machine", metavar="NAME", help="plan for a machine that we measured, for example h200x4")
    parser.add_argument("--plot", metavar="FILE", help="draw the predicted cold start (.png, .svg or .pdf)")
    parser.add_argument("--trace", metavar="FILE", help="write it as Chrome trace JSON, for ui.perfetto.dev")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Saves and prints the plan."""
    check_count("--batch", arguments.batch)
    check_policy(arguments.policy)
    check_output_file("--plot", arguments.plot, (".png", ".svg", ".pdf"))
    check_output_file("--trace", arguments.trace)
    policy = arguments.policy or "optimal"
    plan = _measured(arguments, policy) if arguments.machine is None else _shipped(arguments, policy)
    if arguments.plot is not None:
        plan.plot(arguments.plot)
    if arguments.trace is not None:
        plan.timeline.to_perfetto(arguments.trace)
    print(plan.to_text() if arguments.json else plan)
    return 0


def _measured(arguments: argparse.Namespace, policy: str) -> Plan:
    from deepplan.cli.planning import fitting_profile, new_plan, open_job

    check_model_arguments(arguments)
    check_folder(arguments.folder)
    job = open_job(arguments)
    return new_plan(job, fitting_profile(job), policy, arguments.coding)


def _shipped(arguments: argparse.Namespace, policy: str) -> Plan:
    from deepplan.engine.store import Store
    from deepplan.models import default_dtype
    from deepplan.planning.search import search
    from deepplan.profiles import shipped_profile

    for flag in ("weights", "link_gbps"):
        if getattr(arguments, flag) is not None:
            raise InvalidInputError(f"--{flag.replace('_', '-')} means nothing with --machine: nothing is run")
    if arguments.folder is not None:
        check_folder(arguments.folder)
    dtype = arguments.dtype or default_dtype(arguments.model)
    profile = shipped_profile(arguments.machine, arguments.model, dtype=dtype, batch_size=arguments.batch or 1)
    plan = search(profile, policy, devices=device_list(arguments.devices), coding=arguments.coding)
    if arguments.folder is not None:  # only where it was asked for: this machine cannot use it
        Store(arguments.folder).save_plan(plan, arguments.coding)
    return plan
