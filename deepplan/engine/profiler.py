"""Measures what a planner needs to know: a model's layers and the links of a machine.

Everything is measured through the runtime that later serves the model, under plans made for the purpose:
- execution with weights in device memory: cold runs of the on-demand plan. The device is far behind the calling
  thread there, because it waits for the one copy, so times are the device's own and not the launches';
- direct host access: the plan that reads every layer in place, with the link idle (how much traffic a layer makes), and
  then, of layers that make no more than their bytes, with the link busy (how long that takes in a cold start);
- copies: pieces sent over the links, so small that only their number counts and so many that only their bytes do, with
  1, 2, ... of the links in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.binding import layer_sizes
from deepplan.engine.capturing import Captures
from deepplan.engine.coding import coded_layer_bytes, decode_gbps
from deepplan.engine.devices import Devices
from deepplan.engine.filling import fill
from deepplan.engine.profiling_plans import all_in_place, one_group, one_group_per_layer
from deepplan.engine.sampling import Report, Sample, Sampler
from deepplan.engine.source import Source
from deepplan.export.graph import Graph
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile

_BUDGET_S = 5.0  # for each kind of run
_PROBE_BYTES, _HOST_PROBE_BYTES = 128 << 20, 8 << 20  # over each link
_PROBES, _HOST_PROBES = 30, 5  # what disturbs a link passes, mostly after some ms

# What a wait costs a captured run, which it cuts in two: parts of 1 to 20 small kernels took 1.3 to 2.1 us more when
# launched one by one behind a wait than in one graph, on an H200.
_PART_MS = 0.002

# A read in place that outlasts its bytes by this much reads them more than once. The constant allows for the latency of
# tiny reads.
_REREAD_FACTOR, _REREAD_MS = 1.25, 0.02


def profile_source(
    source: Source,
    devices: Devices,
    inputs: Sequence[torch.Tensor],
    report: Report,
    *,
    budget_s: float | None = None,
) -> Profile:
    """Measures `source` on `devices`; `inputs` are the flattened tensors of one call.

    Takes bounded time: repeats adapt, so that each kind of run takes about `budget_s` at most
    (5 s unless told otherwise). What only first runs cost is not counted.
    """
    graph = source.captured.graph
    links = machine.links(devices)
    on_demand_plan = one_group(graph)
    program = _core.Program(graph, devices.torch_target)
    session = _core.Session(source.name, program, links, on_demand_plan, promote=False)
    fill(session, source.captured)
    coded_bytes = coded_layer_bytes(session, graph)
    dtype = source.dtype or None
    captures = None if devices.is_host else Captures(session, inputs, devices.target, dtype)
    sampler = Sampler(session, inputs, dtype, devices.torch_target, budget_s or _BUDGET_S, captures)

    on_demand = sampler.sample(on_demand_plan, lambda share: report(0.3 * share))
    warm_ms = sampler.warm_ms()
    fewer_links = _links(links, devices)
    # A host device's link carries every byte once, whatever a layer does: there is nothing to find out.
    idle = None if devices.is_host else sampler.sample(all_in_place(graph), lambda share: report(0.3 + 0.3 * share))
    sparing = None if idle is None else _sparing(graph, idle, on_demand, fewer_links[0][0].bandwidth_gbps)
    busy = sampler.sample(all_in_place(graph, sparing), lambda share: report(0.6 + 0.2 * share), busy_link=True)
    by_layer = sampler.sample(one_group_per_layer(graph, 1).plan, lambda share: report(0.8 + 0.2 * share))
    report(1.0)
    return Profile(
        layers=tuple(
            replace(layer, coded_bytes=coded)
            for layer, coded in zip(_layers(source, on_demand, busy, idle, sparing, by_layer), coded_bytes, strict=True)
        ),
        links=fewer_links[-1],
        fewer_links=fewer_links[:-1],
        group_overhead_ms=0.0 if devices.is_host else _PART_MS,
        # What a call costs beside its layers: the first launch, and learning that the last one is done.
        call_overhead_ms=max(0.0, warm_ms - sum(on_demand.layers_ms)),
        warm_ms=warm_ms,
        decode_gbps=decode_gbps(graph, devices),
        model=source.name,
        model_digest=graph.model_digest,
        dtype=source.dtype,
        batch_size=source.batch_size,
        machine=machine.machine_name(devices),
        devices=devices.names,
        torch=str(torch.__version__),
    )


def _layers(
    source: Source,
    on_demand: Sample,
    busy: Sample,
    idle: Sample | None,
    sparing: Sequence[bool] | None,
    by_layer: Sample,
) -> tuple[LayerProfile, ...]:
    graph = source.captured.graph
    layers: list[LayerProfile] = []
    copies = iter(by_layer.groups_ms)
    for index, (layer, size_bytes) in enumerate(zip(graph.layers, layer_sizes(graph))):
        start_ms, end_ms = next(copies) if size_bytes else (0.0, 0.0)
        execute_ms = on_demand.layers_ms[index]
        profile = LayerProfile(
            name=layer.name,
            type=layer.type,
            size_bytes=size_bytes,
            load_ms=max(0.0, end_ms - start_ms),
            execute_ms=execute_ms,
            direct_host_access_ms=None,
            execute_spread_ms=on_demand.layers_spread_ms[index],
        )
        if layer.direct_host_access and size_bytes > 0:
            profile = replace(
                profile,
                direct_host_access_ms=busy.layers_ms[index],
                direct_host_access_spread_ms=busy.layers_spread_ms[index],
            )
            if idle is not None and sparing is not None and not sparing[index]:
                # Beside a load it has half of the link at best.
                longer_ms = max(0.0, idle.layers_ms[index] - execute_ms)
                profile = replace(
                    profile,
                    direct_host_access_ms=execute_ms + 2.0 * longer_ms,
                    direct_host_access_spread_ms=idle.layers_spread_ms[index],
                    direct_host_access_link_ms=longer_ms,
                )
        layers.append(profile)
    return tuple(layers)


def _sparing(graph: Graph, idle: Sample, on_demand: Sample, link_gbps: float) -> list[bool]:
    """Which layers read every byte about once in place. Others hold the link for longer than loading them would: that
    cannot pay, and beside a load some are starved by it, for seconds."""
    sparing = []
    for size_bytes, idle_ms, execute_ms in zip(layer_sizes(graph), idle.layers_ms, on_demand.layers_ms, strict=True):
        bytes_ms = size_bytes / (link_gbps * 1e6)
        # A lookup's bytes are those of its whole table: it is always sparing.
        sparing.append(idle_ms - execute_ms <= _REREAD_FACTOR * bytes_ms + _REREAD_MS)
    return sparing


def _links(links: _core.Links, devices: Devices) -> tuple[tuple[LinkProfile, ...], ...]:
    """What the first 1, 2, ... of the links cost while so many carry."""
    probe_bytes, repeats = (_HOST_PROBE_BYTES, _HOST_PROBES) if devices.is_host else (_PROBE_BYTES, _PROBES)
    counts = range(1, len(devices.names) + 1)
    measured = tuple(tuple(LinkProfile(*cost) for cost in links.costs(count, probe_bytes, repeats)) for count in counts)
    _core.trim_arena()
    return measured
