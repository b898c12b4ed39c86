"""A timeline as Chrome trace JSON (the Trace Event Format), which ui.perfetto.dev and chrome://tracing show."""

from __future__ import annotations

import json
import os
from typing import Any

from deepplan.planning.documents import write_atomically
from deepplan.planning.timeline import Timeline

EXECUTION = 0  # the track of execution; link k has track k + 1


def write_perfetto(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """Writes `timeline` to `path`. Raises InvalidInputError if that cannot be written."""
    write_atomically(path, json.dumps({"traceEvents": trace_events(timeline), "displayTimeUnit": "ms"}))


def trace_events(timeline: Timeline) -> list[dict[str, Any]]:
    """One complete event for each layer, stall and group, and the names of the tracks. Times are in microseconds."""
    process = " ".join(filter(None, (timeline.model, timeline.policy, timeline.kind)))
    events = [_named("process_name", EXECUTION, process), _named("thread_name", EXECUTION, "execution")]
    for route in sorted({group.route for group in timeline.groups}):
        device = timeline.devices[route] if timeline.devices else str(route)
        events.append(_named("thread_name", route + 1, f"link {device}"))
    for index, group in enumerate(timeline.groups):
        details: dict[str, Any] = {"group": index, "bytes": group.size_bytes}
        name = f"group {index}"
        if group.coded:
            name += " coded"
            details["coded_bytes"] = group.coded_bytes
        events.append(_span(name, group.route + 1, group.start_ms, group.end_ms, details))
    for layer in timeline.layers:
        if layer.stall_ms > 0:
            begin = layer.start_ms - layer.stall_ms
            events.append(_span("stall", EXECUTION, begin, layer.start_ms, {"group": layer.group}))
        layer_details: dict[str, Any] = {"placement": layer.placement, "group": layer.group, "bytes": layer.size_bytes}
        events.append(_span(layer.name, EXECUTION, layer.start_ms, layer.end_ms, layer_details))
    return events


def _span(name: str, track: int, begin_ms: float, end_ms: float, details: dict[str, Any]) -> dict[str, Any]:
    start_us = begin_ms * 1e3
    duration_us = (end_ms - begin_ms) * 1e3
    return {"ph": "X", "name": name, "pid": 0, "tid": track, "ts": start_us, "dur": duration_us, "args": details}


def _named(kind: str, track: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": 0, "tid": track, "args": {"name": name}}
