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


def can_cross_coded(graph: Graph, devices: Devices) -> bool:
    """Whether any of the model's weights can be coded, and the target decodes."""
    return _most_coded(graph) is not None and _core.can_decode(devices.target)


def decode_gbps(graph: Graph, devices: Devices) -> float | None:
    """How many GB (1e9 bytes) of this model's weights the target decodes in a second; None if it cannot."""
    dtype = _most_coded(graph)
    if dtype is None or not _core.can_decode(devices.target):
        return None
    return _core.measure_decode_gbps(devices.target, dtype, _PROBE_BYTES)


def _most_coded(graph: Graph) -> str | None:
    """Of the dtypes that can be coded, the one with the most bytes of weights."""
    bytes_of: Counter[str] = Counter()
    for weight in graph.weights:
        bytes_of[weight.dtype] += graph.storages[weight.storage].size_bytes
    return max(_CODABLE & bytes_of.keys(), key=lambda name: bytes_of[name], default=None)


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
