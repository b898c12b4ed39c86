"""The body of a REST inference response: JSON, followed by the outputs that the client wants as bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from math import prod
from typing import Any

from deepplan.server.tensors import RequestedOutput
from deepplan.server.values import decode
from deepplan.serving.inference import ITEM_SIZE_BYTES, Inference, TensorData

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_SLICE_ELEMENTS = 4096  # some milliseconds, in which nothing else is served
_NO_DATA = b'"data":[]'  # nowhere else: quotes in names and ids are escaped


async def write_infer(
    model: str, identifier: str, wanted: Sequence[RequestedOutput], inference: Inference
) -> tuple[bytes | bytearray, int | None]:
    """The body, and how many bytes of it are JSON where others follow.

    Among the parameters are `cold`, `queue_ms` and `run_ms`: what became of the request in the engine. Elements that
    are NaN or infinite are written so, which JSON proper does not have: clients read them. While many elements are
    written, other tasks have their turns.
    """
    by_name = {tensor.name: tensor for tensor in inference.outputs}
    sliced = sum(prod(spec.shape) for spec, as_bytes in wanted if not as_bytes) > _SLICE_ELEMENTS
    outputs: list[dict[str, Any]] = []
    left_out: list[TensorData] = []
    binary: list[bytes | bytearray | memoryview] = []
    for spec, as_bytes in wanted:
        data = by_name[spec.name].data
        output: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}
        if as_bytes:
            output["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        elif sliced:
            output["data"] = []
            left_out.append(by_name[spec.name])
        else:
            output["data"] = decode(spec.datatype, data)
        outputs.append(output)
    parameters = {"cold": inference.cold, "queue_ms": inference.queue_ms, "run_ms": inference.run_ms}
    answer: dict[str, Any] = {"model_name": model, "model_version": "1", "parameters": parameters, "outputs": outputs}
    if identifier:
        answer["id"] = identifier
    text = _ENCODER.encode(answer).encode()
    body: bytes | bytearray = await _fill(text, left_out) if sliced else text
    return (b"".join([body, *binary]), len(body)) if binary else (body, None)


async def _fill(text: bytes, left_out: Sequence[TensorData]) -> bytearray:
    """`text` with the elements of one tensor at each `_NO_DATA`."""
    head, *tails = text.split(_NO_DATA)
    filled = bytearray(head)
    for tensor, tail in zip(left_out, tails):
        filled += b'"data":['
        slice_bytes = _SLICE_ELEMENTS * ITEM_SIZE_BYTES[tensor.datatype]
        for begin in range(0, len(tensor.data), slice_bytes):
            if begin:
                filled += b","
            elements = decode(tensor.datatype, tensor.data[begin : begin + slice_bytes])
            filled += _ENCODER.encode(elements)[1:-1].encode()
            await asyncio.sleep(0)
        filled += b"]" + tail
    return filled
