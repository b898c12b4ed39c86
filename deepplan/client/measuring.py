"""One workload against one server or engine, from arrivals to a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from deepplan.client.connecting import make_targets
from deepplan.client.in_process import InProcessTransport
from deepplan.client.open_loop import MAX_CONCURRENT, TIMEOUT_S, send_workload
from deepplan.client.report import Report
from deepplan.client.transport import Inputs, Transport
from deepplan.errors import InvalidInputError
from deepplan.serving.arrivals import Arrivals
from deepplan.serving.inference import Engine


async def measure(
    server: Transport | Engine,
    arrivals: Arrivals,
    instances: Sequence[tuple[str, str]],
    *,
    objective_ms: float = math.inf,
    inputs: Mapping[str, Inputs] | None = None,
    seed: int = 0,
    timeout_s: float = TIMEOUT_S,
    max_concurrent: int = MAX_CONCURRENT,
    workload: str = "",
    report: Callable[[float], None] = lambda share: None,
) -> Report:
    """Sends `arrivals` to `server`, open-loop, and reports what became of them.

    `server` is an engine in this process or what `connect` gives. `instances` are pairs of an instance's name and its
    model's, in the order in which arrivals count them. `inputs` holds by model what it is sent; for models that are not
    in it, tensors are made up from their metadata and `seed`. `workload` says in the report what this was; `report` is
    given the share that was sent. A request that has no answer `timeout_s` after it was due is given up, and one that
    is due while `max_concurrent` are under way is not sent: both count as failed.

    It runs in any event loop, which its requests share with the engine. Loops of asyncio send up to 1 ms late, and that
    counts as latency; `deepplan.client.run` runs one that does not. For each request's own numbers, call
    `send_workload` as this does and give what it returns to `Report.of`.
    Raises InvalidInputError, UnavailableError if the engine is not ready, UnknownNameError for a model that it does not
    have.
    """
    if not objective_ms > 0:
        raise InvalidInputError(f"objective_ms is {objective_ms}; it must be above 0")
    transport = server if isinstance(server, Transport) else InProcessTransport(server)
    targets = await make_targets(transport, instances, inputs=inputs, seed=seed)
    requests = await send_workload(
        transport, arrivals, targets, timeout_s=timeout_s, max_concurrent=max_concurrent, report=report
    )
    return Report.of(requests, objective_ms=objective_ms, workload=workload)
