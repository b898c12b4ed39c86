"""What Prometheus scrapes: Triton's names where the meaning is Triton's, and our own beside them.

Triton's counters lack the `_total` that Prometheus' own library insists on for counters, so they are left untyped: by
their names dashboards find them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UntypedMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from deepplan.server.service import Service
from deepplan.server.statistics import PROVISION_BOUNDS_S, Duration, ModelStatistics
from deepplan.serving.inference import EngineStatus

_MODEL = ("model", "version")
_FAILURE_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")


async def exposition(service: Service, accept: str) -> tuple[bytes, str]:
    """The metrics and their content type, in the format that `accept` (the header) prefers.

    Where the engine does not say how it is, those that come from it are left out.
    """
    registry = CollectorRegistry()  # for this once: nothing of it is shared with other servers of the process
    registry.register(_Snapshot(service, await service.engine_status()))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Snapshot(Collector):
    def __init__(self, service: Service, status: EngineStatus | None) -> None:
        self._service = service
        self._status = status

    def collect(self) -> Iterator[Metric]:
        models = [(name, self._service.statistics.of(name)) for name in sorted(self._service.engine.models)]
        yield from _of_requests(models)
        yield from _of_durations(models)
        yield from self._of_the_server(models)
        if self._status is not None:
            yield from _of_the_engine(self._status)

    def _of_the_server(self, models: list[tuple[str, ModelStatistics]]) -> Iterator[Metric]:
        statistics = self._service.statistics
        cold = CounterMetricFamily("deepplan_cold_starts", "Runs that provisioned their model first", labels=_MODEL)
        for name, of in models:
            cold.add_metric((name, "1"), of.cold_starts.count)
        yield cold
        bounds = [*map(str, PROVISION_BOUNDS_S), "+Inf"]
        buckets = list(zip(bounds, accumulate(statistics.provision_counts)))
        about = "Length of a cold start, from its begin to its outputs"
        yield HistogramMetricFamily("deepplan_provision_seconds", about, buckets, statistics.provision_s)
        about = "Requests that never reached a model's queue"
        refused = CounterMetricFamily("deepplan_refused_requests", about, labels=("reason",))
        for reason, count in sorted(statistics.refused.items()):
            refused.add_metric((reason,), count)
        yield refused


def _of_requests(models: list[tuple[str, ModelStatistics]]) -> Iterator[Metric]:
    success = UntypedMetricFamily("nv_inference_request_success", "Requests that were answered", labels=_MODEL)
    about = "Requests that were not answered"
    failure = UntypedMetricFamily("nv_inference_request_failure", about, labels=(*_MODEL, "reason"))
    count = UntypedMetricFamily("nv_inference_count", "Inferences, each request one", labels=_MODEL)
    about = "Runs of the model, each of a batch of requests"
    runs = UntypedMetricFamily("nv_inference_exec_count", about, labels=_MODEL)
    about = "Requests that are waiting, running or being received and answered"
    pending = GaugeMetricFamily("nv_inference_pending_request_count", about, labels=_MODEL)
    for name, of in models:
        labels = (name, "1")
        success.add_metric(labels, of.success.count)
        for reason in _FAILURE_REASONS:
            failure.add_metric((*labels, reason), of.failures[reason])
        count.add_metric(labels, of.inference_count)
        runs.add_metric(labels, of.execution_count)
        pending.add_metric(labels, of.pending)
    yield from (success, failure, count, runs, pending)


def _of_durations(models: list[tuple[str, ModelStatistics]]) -> Iterator[Metric]:
    for part, field, about in (
        ("request", "success", "From the head of the request to its answer"),
        ("queue", "queue", "Waiting in the engine"),
        ("compute_input", "compute_input", "Receiving and checking"),
        ("compute_infer", "compute_infer", "Running, provisioning included"),
        ("compute_output", "compute_output", "Writing the answer"),
    ):
        family = UntypedMetricFamily(
            f"nv_inference_{part}_duration_us", f"{about}: microseconds of answered requests together", labels=_MODEL
        )
        for name, of in models:
            duration: Duration = getattr(of, field)
            family.add_metric((name, "1"), duration.ns // 1000)
        yield family


def _of_the_engine(status: EngineStatus) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "deepplan_engine_restarts", "Times that the engine was lost and restarted", status.restarts
    )
    if not status.gpus:
        return  # another is being started, and nothing known of it; its numbers are not 0
    of_gpu = (
        ("nv_gpu_memory_total_bytes", "What models may take of the GPU's memory"),
        ("nv_gpu_memory_used_bytes", "What models take of the GPU's memory"),
        ("deepplan_resident_models", "Models in the GPU's memory"),
        ("deepplan_queued_requests", "Requests that wait for the GPU"),
    )
    families = [GaugeMetricFamily(name, about, labels=("gpu",)) for name, about in of_gpu]
    for gpu in status.gpus:
        values = (gpu.memory_budget_bytes, gpu.memory_used_bytes, len(gpu.resident), gpu.queued)
        for family, value in zip(families, values):
            family.add_metric((gpu.name,), value)
    yield from families
    about = "Pinned host memory"
    yield GaugeMetricFamily("nv_pinned_memory_pool_total_bytes", about, status.pinned_total_bytes)
    yield GaugeMetricFamily("nv_pinned_memory_pool_used_bytes", f"{about} that models take", status.pinned_used_bytes)
    moved = CounterMetricFamily("deepplan_bytes", "Bytes of weights that GPUs were given, by way", labels=("path",))
    for path, size_bytes in sorted(status.path_bytes.items()):
        moved.add_metric((path,), size_bytes)
    yield moved
    yield CounterMetricFamily("deepplan_evictions", "Models taken out of GPU memory", status.evictions)
