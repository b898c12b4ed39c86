"""Bodies against the published schema of the Open Inference Protocol, closed to properties that it does not name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deepplan.serving.inference import ITEM_SIZE_BYTES

DOCUMENT = yaml.safe_load((Path(__file__).parent / "open_inference_rest.yaml").read_text())
for schema in DOCUMENT["components"]["schemas"].values():
    if "properties" in schema:
        schema["additionalProperties"] = False
TEXT_TYPES = [name for name in ITEM_SIZE_BYTES if name not in ("FP16", "BF16")]


def check(name: str, body: Any) -> None:
    """Fails unless `body` is the schema's `name`."""
    whole = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(body)


def request_of(datatype: str) -> dict[str, Any]:
    elements = [True] * 6 if datatype == "BOOL" else [1] * 6
    return {
        "id": "7",
        "parameters": {"binary_data_output": False},
        "inputs": [{"name": "x", "datatype": datatype, "shape": [2, 3], "data": elements, "parameters": {}}],
        "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
    }


@pytest.mark.parametrize("datatype", TEXT_TYPES)
def test_inference(server, datatype: str) -> None:
    request = request_of(datatype)
    check("inference_request", request)
    status, answer = server.json("POST", f"/v2/models/twice_{datatype.lower()}/infer", request)
    assert status == 200, answer
    check("inference_response", answer)
    assert answer["outputs"][0]["data"] == ([False] * 6 if datatype == "BOOL" else [2] * 6)


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata(server, path: str) -> None:
    status, answer = server.json("GET", path)
    assert status == 200
    check("metadata_server_response", answer)


def test_model_metadata(server) -> None:
    for name in server.engine.models:
        status, answer = server.json("GET", f"/v2/models/{name}/versions/1")
        assert status == 200
        check("metadata_model_response", answer)


@pytest.mark.parametrize(
    ("method", "path", "schema"),
    [
        ("GET", "/v2/models/none", "metadata_model_error_response"),
        ("GET", "/v2/models/sum/versions/7", "metadata_model_error_response"),
        ("GET", "/v2/nothing", "metadata_server_error_response"),
        ("POST", "/v2", "metadata_server_error_response"),
        ("POST", "/v2/models/sum/infer", "inference_error_response"),
        ("POST", "/v2/models/none/infer", "inference_error_response"),
    ],
)
def test_errors(server, method: str, path: str, schema: str) -> None:
    status, answer = server.json(method, path)
    assert 400 <= status < 500
    check(schema, answer)
    assert answer["error"]


def test_the_schema_can_refuse() -> None:
    broken = request_of("FP32")
    del broken["inputs"][0]["shape"]
    with pytest.raises(jsonschema.ValidationError):
        check("inference_request", broken)
    with pytest.raises(jsonschema.ValidationError):
        check("inference_response", json.loads('{"model_name": "m"}'))
