"""Where a result came from: machine, GPUs, versions, commit, date and seed, as every file of results says."""

from __future__ import annotations

import datetime
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from deepplan.engine.devices import Devices
from deepplan.engine.machine import machine_name
from deepplan.models.random_weights import SEED
from results_file import ROOT

_SETUP = ("machine", "gpus", "torch", "cuda", "driver", "commit")


def provenance(devices: Devices, commit: str | None = None) -> dict[str, Any]:
    """What a result measured now on `devices` has to say of itself; the date is UTC.

    `commit` is needed where the sources are no git checkout; without one, the result says "unknown".
    """
    on_host = devices.is_host
    return {
        "machine": machine_name(devices),
        "gpus": [] if on_host else [torch.cuda.get_device_name(name) for name in devices.names],
        "cpu": _cpu(),
        "torch": str(torch.__version__),
        "cuda": None if on_host else torch.version.cuda,
        "driver": None if on_host else _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "commit": commit or _checked_out_commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"),
        "seed": SEED,
    }


def same_setup(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether results of both may stand in one table: all but the date agree."""
    return all(one.get(key) == other.get(key) for key in _SETUP)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _checked_out_commit() -> str:
    commit = _output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    if commit is None:
        print("these sources are no git checkout: name their commit with --commit", file=sys.stderr)
        return "unknown"
    # Profiles are results too: that a run writes some makes no other code of the next one's.
    sources = ("deepplan", "csrc", ":!deepplan/profiles")
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--", *sources)
    return f"{commit} with changes" if changed else commit


def _output(*command: str) -> str | None:
    """The first line that a command prints, None if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return next(iter(done.stdout.splitlines()), "")
