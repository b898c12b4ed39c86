"""The body of a REST inference response: JSON, followed by the outputs that the client wants as bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from deepplan.server.tensors import RequestedOutput
from deepplan.server.values import decode
from deepplan.serving.inference import Inference

_ENCODER = json.JSONEncoder(separators=(",", ":"))


def write_infer(
    model: str, identifier: str, wanted: Sequence[RequestedOutput], inference: Inference
) -> tuple[bytes, int | None]:
    """The body, and how many bytes of it are JSON where others follow.

    Among the parameters are `cold`, `queue_ms` and `run_ms`: what became of the request in the engine. Elements that
    are NaN or infinite are written so, which JSON proper does not have: clients read them.
    """
    by_name = {tensor.name: tensor for tensor in inference.outputs}
    outputs: list[dict[str, Any]] = []
    binary: list[bytes | bytearray | memoryview] = []
    for spec, as_bytes in wanted:
        data = by_name[spec.name].data
        output: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}
        if as_bytes:
            output["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            output["data"] = decode(spec.datatype, data)
        outputs.append(output)
    parameters = {"cold": inference.cold, "queue_ms": inference.queue_ms, "run_ms": inference.run_ms}
    answer: dict[str, Any] = {"model_name": model, "model_version": "1", "parameters": parameters, "outputs": outputs}
    if identifier:
        answer["id"] = identifier
    text = _ENCODER.encode(answer).encode()
    return (b"".join([text, *binary]), len(text)) if binary else (text, None)
