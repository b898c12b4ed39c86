from __future__ import annotations

import asyncio
import json
import math

import numpy as np
import pytest

from deepplan.server.rest_response import write_infer
from deepplan.server.tensors import RequestedOutput
from deepplan.serving.inference import Inference, TensorData, TensorSpec

FLOATS = np.linspace(-1, 1, 60_000, dtype=np.float32)
FLOATS[:3] = math.nan, math.inf, -math.inf


def inference(*outputs: tuple[str, str, np.ndarray]) -> Inference:
    tensors = (TensorData(name, datatype, values.shape, values.tobytes()) for name, datatype, values in outputs)
    return Inference(tuple(tensors), gpu=0, cold=True, batch_size=1, leads_batch=True, queue_ms=0.5, run_ms=2.0)


def requested(answer: Inference, *binary: str) -> list[RequestedOutput]:
    specs = (TensorSpec(tensor.name, tensor.datatype, tensor.shape) for tensor in answer.outputs)
    return [RequestedOutput(spec, spec.name in binary) for spec in specs]


@pytest.mark.parametrize("length", [1, 7, 8, 9, 24, 27])
def test_an_answer_is_the_same_in_slices_as_in_one(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepplan.server.rest_response._SLICE_ELEMENTS", 8)
    name, identifier, floats = '"data":[]', '"data":[],\\"data":[]é', FLOATS[:length]
    half, shape = np.ones(3, np.float16), [1, length]
    outputs = [
        ("scalar", "INT64", np.array(-7)),
        (name, "FP32", floats.reshape(shape)),
        ("none", "FP64", np.empty((2, 0))),
        ("half", "FP16", half),
        ("bools", "BOOL", np.arange(length) % 3 == 0),
        ("wide", "UINT64", np.arange(length, dtype=np.uint64) + np.uint64(2**63)),
    ]
    answer = inference(*outputs)
    body, json_bytes = asyncio.run(write_infer("m", identifier, requested(answer, "half"), answer))
    described = []
    for output_name, datatype, values in outputs:
        data = {"parameters": {"binary_data_size": 6}} if datatype == "FP16" else {"data": values.ravel().tolist()}
        described.append({"name": output_name, "datatype": datatype, "shape": values.shape, **data})
    whole = {
        "model_name": "m",
        "model_version": "1",
        "parameters": {"cold": True, "queue_ms": 0.5, "run_ms": 2.0},
        "outputs": described,
        "id": identifier,
    }
    text = json.dumps(whole, separators=(",", ":")).encode()
    assert json_bytes == len(text)
    assert body == text + half.tobytes()


def test_without_binary_outputs_all_of_it_is_json() -> None:
    answer = inference(("y", "FP32", FLOATS))
    body, json_bytes = asyncio.run(write_infer("m", "", requested(answer), answer))
    assert json_bytes is None
    np.testing.assert_array_equal(np.array(json.loads(body)["outputs"][0]["data"], np.float32), FLOATS)


@pytest.mark.parametrize(
    "outputs",
    [[("y", "FP32", FLOATS)], [(f"y{i}", "FP32", FLOATS[:600]) for i in range(100)]],
    ids=["one", "several"],
)
def test_other_tasks_have_turns_while_a_large_answer_is_written(outputs: list[tuple[str, str, np.ndarray]]) -> None:
    answer = inference(*outputs)

    async def turns_meanwhile() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await write_infer("m", "", requested(answer), answer)
        counting.cancel()
        return turns

    assert asyncio.run(turns_meanwhile()) >= 10
