"""Measure a model's layers and the links of the devices, and show what was measured.

Measures always; the profile is saved, and `deepplan plan` and `deepplan benchmark` use it from then on.
"""

from __future__ import annotations

import argparse

from deepplan.cli.arguments import (
    add_devices,
    add_folder,
    add_model,
    check_folder,
    check_model_arguments,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of `deepplan profile`."""
    add_model(parser)
    add_devices(parser)
    add_folder(parser)
    parser.add_argument("--json", action="store_true", help="print the profile as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Saves and prints the profile."""
    check_model_arguments(arguments)
    check_folder(arguments.folder)
    from deepplan.cli.planning import measured_profile, open_job
    from deepplan.cli.tables import profile_table

    profile = measured_profile(open_job(arguments))
    print(profile.to_text() if arguments.json else profile_table(profile))
    return 0
