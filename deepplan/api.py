"""The functions of `deepplan`: plan, profile, search, simulate, load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepplan.errors import InvalidInputError, MismatchError, UnknownNameError
from deepplan.planning.search import search
from deepplan.planning.simulator import simulate

if TYPE_CHECKING:
    from deepplan.engine.devices import Devices as DeviceSet
    from deepplan.engine.sampling import Report
    from deepplan.engine.session import Session
    from deepplan.engine.source import Inputs, Model, Source
    from deepplan.planning.plan import Plan
    from deepplan.planning.profile import Profile

    Devices = int | str | Sequence[int | str]

__all__ = ["load", "plan", "profile", "search", "simulate"]


def plan(
    model: Model,
    example_inputs: Inputs | None = None,
    *,
    devices: Devices = (0,),
    policy: str = "optimal",
    dtype: str | None = None,
    batch_sizes: Sequence[int] = (1,),
    machine: str | None = None,
    coding: bool = True,
    trust: bool = False,
) -> Plan:
    """The plan by which `model` is brought onto the first of `devices` and run there: profile, then search.

    `model` is a module that `torch.export` accepts, a zoo name, a `.pt2` file or an exported folder. `example_inputs`
    (a tensor, a tuple of positional or a mapping of keyword arguments) may be left out where they are known: for a
    zoo model, and for a module with `example_inputs`, `example_input_array` or `dummy_inputs`. `devices` are indices
    or names ("cuda:1", "host:0"), the target first; the others lend their links. `dtype` is "fp32", "tf32", "bf16" or
    "fp16", None for the module as it is. With `machine` ("h200x4") the profile that ships with deepplan is used
    instead of this machine, and nothing is measured; `model` is a zoo name then, and `devices` are indices from 0, its
    target. Without `coding` no weights cross the links coded, though the GPU could decode them. A file or folder that
    may run code, or calls operators of other libraries, is refused without `trust`.

    Raises DeepPlanError: UnknownNameError, InvalidInputError, ExportError, DeviceError or OutOfMemoryError.
    """
    if not isinstance(batch_sizes, Sequence) or len(batch_sizes) != 1:
        raise InvalidInputError(
            f"batch_sizes={batch_sizes!r}: a plan is made for one batch size, as in batch_sizes=[8]; make one for each"
        )
    if machine is not None:
        from deepplan.models import default_dtype
        from deepplan.profiles import shipped_profile

        known = dtype or (default_dtype(model) if isinstance(model, str) else "fp32")
        shipped = shipped_profile(machine, model, dtype=known, batch_size=batch_sizes[0])
        return search(shipped, policy, devices=_indices(devices), coding=coding)
    measured = profile(model, example_inputs, devices=devices, dtype=dtype, batch_size=batch_sizes[0], trust=trust)
    return search(measured, policy, coding=coding)


def profile(
    model: Model,
    example_inputs: Inputs | None = None,
    devices: Devices = (0,),
    *,
    dtype: str | None = None,
    batch_size: int = 1,
    trust: bool = False,
    report: Report | None = None,
) -> Profile:
    """Measures the model's layers and the links of `devices`. Arguments and errors as for `plan`.

    `report` is called with the share of the work that is done, from 0 to 1.
    """
    from deepplan.engine.devices import resolve_devices
    from deepplan.engine.profiler import profile_source
    from deepplan.engine.source import resolve

    resolved = resolve_devices(devices)
    source = resolve(model, example_inputs, dtype=dtype, batch_size=batch_size, trust=trust)
    return profile_source(source, resolved, source.tensor_inputs(), report or (lambda share: None))


def load(
    model: Model,
    plan: Plan | None = None,
    *,
    devices: Devices | None = None,
    example_inputs: Inputs | None = None,
    release: bool = False,
    promote: bool = True,
    launch: str = "graph",
    trust: bool = False,
) -> Session:
    """Copies the model's weights into pinned host memory, laid out by `plan`; nothing is on the GPU yet.

    `devices` binds the plan's links to these devices (default: those it was made for). `release` frees each parameter
    of the module as it is copied. With `promote`, layers that the plan leaves in host memory follow onto the GPU after
    a cold start, but for lookup tables, so that warm calls find them there. `launch="graph"` captures cold and warm
    calls once, now: a warm one is a single launch, a cold one a launch for each group that it waits for. For this the
    model is run a few times and then evicted. `"operators"` does not; nor are models captured that cannot be
    (`Session.launch_refusal` says why), nor host devices. An exported folder brings its own plan. `example_inputs` are
    needed where `plan` comes from a file and the module does not know its inputs.
    Raises MismatchError for a plan that was made for another model, torch or machine, and DeepPlanError otherwise.
    """
    from deepplan.engine.session import Session
    from deepplan.engine.source import resolve
    from deepplan.planning.plan import Plan

    if plan is not None and not isinstance(plan, Plan):
        raise InvalidInputError(f"plan={plan!r} is no plan; make one with deepplan.plan, or read one with Plan.load")
    if launch not in ("graph", "operators"):
        raise UnknownNameError(f"launch={launch!r}; there are graph and operators")
    dtype = plan.dtype or None if plan is not None else None
    batch_size = plan.batch_size if plan is not None else 1
    source = resolve(model, example_inputs, dtype=dtype, batch_size=batch_size, trust=trust, keep=False)
    if plan is None:
        plan = _plan_of_folder(source)
    bound = _devices_for(plan, devices)
    _check_origin(plan, source)
    return Session(source, plan, bound, release=release, promote=promote, capture=launch == "graph")


def _plan_of_folder(source: Source) -> Plan:
    from deepplan.planning.plan import Plan

    if source.plan_path is None:
        raise InvalidInputError(
            "load needs a plan: plan = deepplan.plan(model); only an exported folder brings its own"
        )
    return Plan.load(source.plan_path)


def _devices_for(plan: Plan, devices: Devices | None) -> DeviceSet:
    from deepplan.engine.devices import resolve_devices
    from deepplan.engine.machine import machine_name

    resolved = resolve_devices(devices if devices is not None else plan.devices or range(len(plan.links)))
    here = machine_name(resolved)
    if plan.machine and plan.machine != here:
        raise MismatchError(f"the plan was made for {plan.machine} and this is {here}; plan the model here")
    return resolved


def _check_origin(plan: Plan, source: Source) -> None:
    """A plan made by hand or by an older search has no origin; one that has must be of this model and this torch."""
    import torch

    digest = source.captured.graph.model_digest
    if plan.model_digest and plan.model_digest != digest:
        raise MismatchError(f"the plan was made for another model ({plan.model}); plan {source.name} itself")
    if plan.torch and plan.torch != str(torch.__version__):
        raise MismatchError(f"the plan was made with torch {plan.torch} and this is {torch.__version__}; plan again")


def _indices(devices: Devices) -> list[int]:
    """Positions among a shipped profile's links."""
    given = list(devices) if isinstance(devices, Sequence) and not isinstance(devices, str) else [devices]
    if not all(isinstance(device, int) for device in given):
        raise InvalidInputError(f"devices={given}: with machine=, devices are indices of that machine's links")
    return [int(device) for device in given]
