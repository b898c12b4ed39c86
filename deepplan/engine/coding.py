"""What lossless coding makes of a model's weights, and how fast the target decodes them."""

from __future__ import annotations

from collections import Counter

from deepplan import _core
from deepplan.engine.devices import Devices
from deepplan.export.graph import Graph, Layer

_SAMPLE_BYTES = 1 << 20  # of each storage: blocks of 1024 weights are coded by themselves
_PROBE_BYTES = 16 << 20
_CODABLE = frozenset({"bfloat16", "float16", "float32"})


def coded_layer_bytes(session: _core.Session, graph: Graph) -> list[int | None]:
    """What each layer's parameters take when coded, estimated from a sample; at most their plain bytes, since what
    would not shrink stays plain. None for layers without parameters."""
    dtypes = {weight.storage: weight.dtype for weight in reversed(graph.weights)}
    return [_coded_bytes(session, graph, layer, dtypes) for layer in graph.layers]


def decode_gbps(graph: Graph, devices: Devices) -> float | None:
    """How many GB (1e9 bytes) of this model's weights the target decodes in a second; None if it cannot."""
    bytes_of: Counter[str] = Counter()
    for weight in graph.weights:
        bytes_of[weight.dtype] += graph.storages[weight.storage].size_bytes
    dtype = max(_CODABLE & bytes_of.keys(), key=lambda name: bytes_of[name], default=None)
    if dtype is None or not _core.can_decode(devices.target):
        return None
    return _core.measure_decode_gbps(devices.target, dtype, _PROBE_BYTES)


def _coded_bytes(session: _core.Session, graph: Graph, layer: Layer, dtypes: dict[int, str]) -> int | None:
    coded = plain = 0
    for storage in layer.storages:
        size_bytes, dtype = graph.storages[storage].size_bytes, dtypes[storage]
        plain += size_bytes
        if dtype not in _CODABLE or size_bytes == 0:
            coded += size_bytes
            continue
        begin = max(0, (size_bytes - _SAMPLE_BYTES) // 2) // 4 * 4
        sample = session.storage_bytes(storage)[begin : begin + _SAMPLE_BYTES]
        coded += min(size_bytes, round(_core.coded_size(sample, dtype) / sample.numel() * size_bytes))
    return coded if plain > 0 else None
