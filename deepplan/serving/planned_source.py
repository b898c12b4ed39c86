"""What a served model is made from: its graphs by batch size, and the plan that brings it in."""

from __future__ import annotations

from collections.abc import Mapping

from deepplan import models
from deepplan.engine import precision
from deepplan.engine.benchmark import policy_of
from deepplan.engine.devices import Devices
from deepplan.engine.origin import origin_of
from deepplan.engine.profiler import profile_source
from deepplan.engine.source import Source, resolve
from deepplan.engine.store import Store
from deepplan.errors import InvalidInputError
from deepplan.planning.plan import Plan
from deepplan.planning.search import search
from deepplan.serving.deployment import Deployment, ServedSource

_PROFILE_BUDGET_S = 1.0  # for each kind of run

# By batch size.
Sources = Mapping[int, Source]


def sources_of(served: ServedSource) -> Sources:
    """The model exported for each of its batch sizes, over the same weights. Raises DeepPlanError."""
    if served.source not in models.names():
        if served.batch_sizes != (1,) or served.weights is not None:
            raise InvalidInputError(f"{served.source} brings its own batch size and weights; leave these settings out")
        return {1: resolve(served.source, dtype=served.dtype, trust=served.trust, keep=False)}
    dtype = served.dtype or models.default_dtype(served.source)
    module, _, _ = precision.prepare(models.build(served.source, weights=served.weights), (), {}, dtype)
    return {size: resolve(module, dtype=dtype, batch_size=size, keep=False) for size in served.batch_sizes}


def plan_of(source: Source, deployment: Deployment, devices: Devices, store: Store) -> Plan:
    """The saved plan for this very case, else one that is made and saved now."""
    origin, policy = origin_of(source, devices), policy_of(deployment.engine)
    plan = store.find_plan(origin, policy, deployment.coding)
    if plan is None:
        profile = store.find_profile(origin)
        if profile is None:
            profile = profile_source(
                source, devices, source.tensor_inputs(), lambda share: None, budget_s=_PROFILE_BUDGET_S
            )
            store.save_profile(profile)
        plan = search(profile, policy, coding=deployment.coding)
        store.save_plan(plan, deployment.coding)
    return plan
