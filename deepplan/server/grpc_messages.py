"""The messages of `inference.proto`, in a pool of their own.

NVIDIA's client registers messages of the same names in protobuf's default pool. In one of our own both can be imported
in one process, whichever comes first and whatever version made the client's.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"


def _load() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    content = files("deepplan.server").joinpath("inference.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(content).file:
        pool.Add(file)
    return pool


_POOL = _load()


def message(name: str) -> Any:
    """The class of the message `name` of the package."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"inference.{name}"))


def methods() -> Mapping[str, tuple[Any, Any]]:
    """Each method of the service with the classes of its request and its response."""
    return {
        method.name: (
            message_factory.GetMessageClass(method.input_type),
            message_factory.GetMessageClass(method.output_type),
        )
        for method in _POOL.FindServiceByName(SERVICE).methods
    }
