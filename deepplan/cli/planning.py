"""From the flags to what the commands work on: a model, devices, a profile and a plan.

Only commands that run a model import this module: it brings torch and the compiled core.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from deepplan import models
from deepplan.cli.arguments import device_list
from deepplan.cli.progress import progress
from deepplan.engine import precision, saved
from deepplan.engine.devices import Devices, resolve_devices
from deepplan.engine.machine import HostLinks, set_host_links
from deepplan.engine.origin import origin_of
from deepplan.engine.profiler import profile_source
from deepplan.engine.source import Source, resolve
from deepplan.engine.store import Store
from deepplan.errors import InvalidInputError, MismatchError
from deepplan.export.folder import PLAN, PROFILE
from deepplan.planning.plan import Plan
from deepplan.planning.profile import Origin, Profile
from deepplan.planning.search import search

D = TypeVar("D", Plan, Profile)


@dataclass(frozen=True)
class Job:
    """One model on some devices, and where its profiles and plans lie.

    `link_gbps` is what the links of the host devices carry. `module` is what `source` was made from, None for a file
    or folder.
    """

    source: Source
    module: torch.nn.Module | None
    devices: Devices
    link_gbps: float
    store: Store

    @property
    def origin(self) -> Origin:
        """What a profile or a plan has to be made for to be of use here."""
        return origin_of(self.source, self.devices)


def open_job(arguments: argparse.Namespace) -> Job:
    """Checks what is quick to check, then builds and exports the model. Raises DeepPlanError."""
    precision.check_name(arguments.dtype)
    host_links = HostLinks() if arguments.link_gbps is None else HostLinks(link_gbps=arguments.link_gbps)
    set_host_links(host_links)
    devices = resolve_devices(device_list(arguments.devices))
    if arguments.link_gbps is not None and not devices.is_host:
        raise InvalidInputError(f"--link-gbps is for host devices; {devices.target} has a real link")
    with progress(f"preparing {arguments.model}"):
        source, module = _open_model(arguments)
    if arguments.batch not in (None, source.batch_size):
        raise MismatchError(
            f"{arguments.model} was exported for a batch of {source.batch_size}, not {arguments.batch}; export it again"
        )
    return Job(source, module, devices, host_links.link_gbps, Store(arguments.folder))


def saved_profile(job: Job) -> Profile | None:
    """The profile that lies in the folder for this job, or came with the exported model."""
    return saved.saved_profile(job.store, job.source, job.devices) or _brought_along(job, Profile, PROFILE)


def saved_plan(job: Job, policy: str, coding: bool = True) -> Plan | None:
    """The plan that lies in the folder for this job, or came with the exported model; without `coding` a plain one."""
    found = saved.saved_plan(job.store, job.source, job.devices, policy, coding)
    brought = None if found is not None else _brought_along(job, Plan, PLAN)
    if brought is None or brought.policy != policy or (any(brought.coded) and not coding):
        return found
    return brought


def measured_profile(job: Job) -> Profile:
    """Profiles the model now and saves the result."""
    with progress(f"profiling {job.source.name} on {', '.join(job.devices.names)}") as report:
        profile = profile_source(job.source, job.devices, job.source.tensor_inputs(), report)
    job.store.save_profile(profile)
    return profile


def fitting_profile(job: Job) -> Profile:
    """The saved profile for this job, or a new one."""
    return saved_profile(job) or measured_profile(job)


def new_plan(job: Job, profile: Profile, policy: str, coding: bool = True) -> Plan:
    """Searches and saves a plan."""
    with progress(f"searching a plan for {job.source.name} by {policy}"):
        plan = search(profile, policy, coding=coding)
    job.store.save_plan(plan, coding)
    return plan


def _open_model(arguments: argparse.Namespace) -> tuple[Source, torch.nn.Module | None]:
    batch_size = arguments.batch or 1
    if arguments.model not in models.names():
        exported = resolve(
            arguments.model, dtype=arguments.dtype, batch_size=batch_size, trust=arguments.trust, keep=False
        )
        return exported, None
    dtype = arguments.dtype or models.default_dtype(arguments.model)
    built = models.build(arguments.model, weights=arguments.weights)
    module, _, _ = precision.prepare(built, (), {}, dtype)
    return resolve(module, dtype=dtype, batch_size=batch_size, keep=False), module


def _brought_along(job: Job, kind: type[D], file: str) -> D | None:
    """The document beside an exported model, if it was made for this very job."""
    if job.source.plan_path is None:
        return None
    path: Path = job.source.plan_path.with_name(file)
    document = kind.load(path) if os.path.exists(path) else None
    return document if document is not None and document.origin == job.origin.origin else None
