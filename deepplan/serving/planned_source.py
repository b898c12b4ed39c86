"""What a served model is made from: its graphs by batch size, and the plans that bring it in."""

from __future__ import annotations

from collections.abc import Mapping

from deepplan import models
from deepplan.engine import precision
from deepplan.engine.benchmark import policy_of
from deepplan.engine.devices import Devices
from deepplan.engine.profiler import profile_source
from deepplan.engine.saved import saved_plan, saved_profile
from deepplan.engine.source import Source, resolve
from deepplan.engine.store import Store
from deepplan.errors import InvalidInputError
from deepplan.planning.plan import Plan
from deepplan.planning.refit import refit
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


def plans_of(source: Source, deployment: Deployment, devices: Devices, store: Store) -> tuple[Plan, ...]:
    """For 1, 2, ... and all links: the saved plan for this very case, else one that is made and saved now, and before
    it what loads the same layers over fewer links."""
    policy = policy_of(deployment.engine)
    plan, profile = saved_plan(store, source, devices, policy, deployment.coding), saved_profile(store, source, devices)
    if profile is None and (plan is None or len(plan.links) > 1):
        profile = profile_source(
            source, devices, source.tensor_inputs(), lambda share: None, budget_s=_PROFILE_BUDGET_S
        )
        store.save_profile(profile)
    if plan is None:
        assert profile is not None
        plan = search(profile, policy, coding=deployment.coding)
        store.save_plan(plan, deployment.coding)
    if profile is None:
        return (plan,)
    return (*(refit(profile, plan, links) for links in range(1, len(plan.links))), plan)
