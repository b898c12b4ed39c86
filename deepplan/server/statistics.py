"""What became of each model's requests, counted from the server's start: the protocol's statistics extension.

One event loop records and reads, so that nothing is locked.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from deepplan.server.failures import Failure
from deepplan.serving.inference import Inference

# Upper ends of the classes of cold starts, in seconds: from a small model on a fast link to a large one on a slow one.
PROVISION_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass
class Duration:
    """How often something was done, and how long that took in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns


@dataclass
class ModelStatistics:
    """One model's requests by what became of them.

    `success` and `fail` are whole requests at the server; of the answered ones, `compute_input` is receiving and
    checking, `queue` waiting in the engine, `compute_infer` the run, provisioning included, `compute_output` writing
    the answer. `batches` counts runs by batch size, `cold_starts` those that provisioned the model.
    """

    pending: int = 0
    last_inference_ms: int = 0
    inference_count: int = 0
    execution_count: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    cold_starts: Duration = field(default_factory=Duration)
    batches: dict[int, Duration] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)

    def to_json(self, name: str) -> dict[str, Any]:
        """The protocol's object for one model, and its cold starts."""
        parts = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
        return {
            "name": name,
            "version": "1",
            "last_inference": self.last_inference_ms,
            "inference_count": self.inference_count,
            "execution_count": self.execution_count,
            "inference_stats": {part: vars(getattr(self, part)) for part in parts},
            "batch_stats": [
                {"batch_size": size, "compute_infer": vars(duration)} for size, duration in sorted(self.batches.items())
            ],
            "cold_starts": vars(self.cold_starts),
        }


class Statistics:
    """All models' statistics, and what is counted for the server as a whole.

    `refused` is by reason: requests that never reached a model's queue, whatever model they named.
    """

    def __init__(self) -> None:
        self._models: dict[str, ModelStatistics] = {}
        self.refused: Counter[str] = Counter()
        self.provision_counts = [0] * (len(PROVISION_BOUNDS_S) + 1)
        self.provision_s = 0.0

    def of(self, model: str) -> ModelStatistics:
        """Those of one model. Callers name served models only, so that clients cannot make them grow."""
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = ModelStatistics()
        return found

    def record_success(self, model: str, inference: Inference, total_ns: int, input_ns: int, output_ns: int) -> None:
        """One request was answered; times are those of `ModelStatistics`."""
        of = self.of(model)
        of.last_inference_ms = time.time_ns() // 1_000_000
        of.inference_count += 1
        of.success.add(total_ns)
        of.queue.add(round(inference.queue_ms * 1e6))
        of.compute_input.add(input_ns)
        of.compute_infer.add(round(inference.run_ms * 1e6))
        of.compute_output.add(output_ns)

    def record_run(self, model: str, inference: Inference) -> None:
        """The run that made an answer, whether or not the client took it; once for those of a batch."""
        if not inference.leads_batch:
            return
        of, run_ns = self.of(model), round(inference.run_ms * 1e6)
        of.execution_count += 1
        of.batches.setdefault(inference.batch_size, Duration()).add(run_ns)
        if inference.cold:
            of.cold_starts.add(run_ns)
            run_s = inference.run_ms / 1e3
            self.provision_counts[bisect_left(PROVISION_BOUNDS_S, run_s)] += 1
            self.provision_s += run_s

    def record_failure(self, model: str | None, failure: Failure, total_ns: int) -> None:
        """One request was not answered; `model` is None where it named none that is served."""
        if failure.reason == "REJECTED" or failure.http_status == 503:
            self.refused[failure.grpc_code.lower()] += 1
        if model is not None:
            of = self.of(model)
            of.fail.add(total_ns)
            of.failures[failure.reason] += 1
