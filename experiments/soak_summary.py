"""What a soak says: how each model fared, and whether anything grew, erred or slowed down."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Memory = Mapping[str, Any]

# Allocators take memory by the piece: 2 MiB from the driver, 20 MiB in torch. 10,000 cold starts that each leave 4 KiB
# behind come to more than this.
SLACK_BYTES = 32 << 20


@dataclass(frozen=True)
class ColdStart:
    """One call. `driven_out`: another model had taken its memory; else it was evicted for this call."""

    model: str
    latency_ms: float
    driven_out: bool
    launch: str
    right: bool
    same_bits: bool  # as the eager model's answer


@dataclass(frozen=True)
class Soaked:
    """Cold starts in their order, and what memory was taken before the first, now and then, and after the last.

    `captured` are the models that are launched as graphs.
    """

    starts: Sequence[ColdStart]
    memory: Sequence[Memory]
    captured: frozenset[str]
    weight_bytes: int
    budget_bytes: int
    seconds: float


def rows(soaked: Soaked) -> list[dict[str, Any]]:
    """One for each model that was called."""
    return [_row(soaked, model) for model in dict.fromkeys(start.model for start in soaked.starts)]


def checks(soaked: Soaked, most_drift: float) -> dict[str, bool]:
    """Whether what has to hold did. Segments are counted where models come back to their addresses.

    Models that are not captured take what memory there is, so that segments of other sizes may come and go.
    """
    first, last = soaked.memory[0], soaked.memory[-1]
    found = {
        "all_answers_right": all(start.right for start in soaked.starts),
        "device_memory_flat": all(
            before - after <= SLACK_BYTES for before, after in zip(first["free_bytes"], last["free_bytes"])
        ),
        "host_memory_flat": last["process_bytes"] - first["process_bytes"] <= SLACK_BYTES,
        "pinned_memory_same": first["pinned_bytes"] == last["pinned_bytes"],
        "within_budget": all(memory["reserved_bytes"] <= soaked.budget_bytes for memory in soaked.memory),
        "no_drift": all(row["drift"] <= most_drift for row in rows(soaked)),
    }
    models = {start.model for start in soaked.starts}
    if models and models <= soaked.captured:
        found["no_new_segments"] = all(
            first[key] == last[key] for key in ("allocations", "reserved_bytes", "charged_bytes")
        )
    if soaked.captured:
        found["launched_as_captured"] = all(
            start.launch == "graph" for start in soaked.starts if start.model in soaked.captured
        )
    return found


def _row(soaked: Soaked, model: str) -> dict[str, Any]:
    starts = [start for start in soaked.starts if start.model == model]
    latencies = [start.latency_ms for start in starts]
    tenth = -(-len(latencies) // 10)
    first_ms, last_ms = statistics.median(latencies[:tenth]), statistics.median(latencies[-tenth:])
    return {
        "model": model,
        "cold_starts": len(starts),
        "driven_out": sum(start.driven_out for start in starts),
        "by_operators": sum(start.launch == "operators" for start in starts),
        "wrong": sum(not start.right for start in starts),
        "other_bits": sum(not start.same_bits for start in starts),
        "median_ms": statistics.median(latencies),
        "p99_ms": sorted(latencies)[-(-99 * len(latencies) // 100) - 1],
        "min_ms": min(latencies),
        "max_ms": max(latencies),
        "first_ms": first_ms,
        "last_ms": last_ms,
        "drift": last_ms / first_ms - 1,
    }
