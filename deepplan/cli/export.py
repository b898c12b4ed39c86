"""Write a model as a folder that deepplan takes without the model's class.

The folder holds graph.json, weights.safetensors, plan.json and profile.json; the model is profiled and planned first
where that was not done yet.
"""

from __future__ import annotations

import argparse

from deepplan.cli.arguments import (
    add_devices,
    add_folder,
    add_model,
    add_policy,
    check_folder,
    check_model_arguments,
    check_output_folder,
    check_policy,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of `deepplan export`."""
    add_model(parser)
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder to write")
    add_devices(parser)
    add_policy(parser)
    add_folder(parser)


def run(arguments: argparse.Namespace) -> int:
    """Writes the folder."""
    check_model_arguments(arguments)
    check_policy(arguments.policy)
    check_output_folder("--output", arguments.output)
    check_folder(arguments.folder)
    from deepplan.cli.planning import fitting_profile, new_plan, open_job
    from deepplan.engine.filling import storages_with_values
    from deepplan.export.folder import write_folder

    job = open_job(arguments)
    source = job.source
    profile = fitting_profile(job)
    plan = new_plan(job, profile, arguments.policy or "optimal")
    write_folder(
        arguments.output,
        source.captured.graph,
        storages_with_values(source.captured),
        plan=plan,
        profile=profile,
        name=source.name,
        dtype=source.dtype,
        batch_size=source.batch_size,
    )
    megabytes = sum(storage.size_bytes for storage in source.captured.graph.storages) / 1e6
    print(f"{source.name} ({megabytes:.2f} MB of weights) and its plan are in {arguments.output}")
    return 0
