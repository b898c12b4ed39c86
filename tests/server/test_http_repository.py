"""The repository, statistics and metadata through NVIDIA's HTTP client."""

from __future__ import annotations

import numpy as np
import pytest

tritonclient = pytest.importorskip("tritonclient.http")

from tritonclient.utils import InferenceServerException  # noqa: E402

import deepplan  # noqa: E402
from deepplan.errors import RunError, UnavailableError  # noqa: E402


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture
def client(server):
    with tritonclient.InferenceServerClient(server.http) as connected:
        yield connected


def infer(client, model: str = "twice_int8") -> np.ndarray:
    x = tritonclient.InferInput("x", [2, 3], "INT8")
    x.set_data_from_numpy(np.ones((2, 3), np.int8))
    return client.infer(model, [x]).as_numpy("y")


def state_of(client, model: str) -> tuple[str, str]:
    (entry,) = [entry for entry in client.get_model_repository_index() if entry["name"] == model]
    assert entry["version"] == "1"
    return entry["state"], entry["reason"]


def test_the_server_and_its_models_describe_themselves(server, client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sum")
    assert client.is_model_ready("sum", "1")
    assert not client.is_model_ready("none")
    metadata = client.get_server_metadata()
    assert (metadata["name"], metadata["version"]) == ("deepplan", deepplan.__version__)
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(metadata["extensions"])
    model = client.get_model_metadata("sum", "1")
    assert (model["name"], model["versions"]) == ("sum", ["1"])
    assert model["inputs"] == [{"name": n, "datatype": "FP32", "shape": [4]} for n in "ab"]
    assert client.get_model_config("twice_bf16")["input"] == [{"name": "x", "data_type": "TYPE_BF16", "dims": [2, 3]}]
    server.engine.ready = False
    assert not client.is_server_ready()


def test_an_unloaded_model_answers_errors_until_it_is_loaded(server, client) -> None:
    assert infer(client).tolist() == [[2] * 3] * 2
    assert state_of(client, "twice_int8") == ("READY", "")
    client.unload_model("twice_int8")
    assert server.engine.evicted == ["twice_int8"]
    assert state_of(client, "twice_int8") == ("UNAVAILABLE", "unloaded")
    assert not client.is_model_ready("twice_int8")
    with pytest.raises(InferenceServerException, match="was unloaded by a client; load it first") as refused:
        infer(client)
    assert refused.value.status() == "503"
    with pytest.raises(InferenceServerException, match="unloaded"):
        client.get_model_metadata("twice_int8")
    assert client.is_model_ready("sum"), "the others go on"
    assert client.is_server_ready()
    client.load_model("twice_int8")
    assert state_of(client, "twice_int8") == ("READY", "")
    assert infer(client).tolist() == [[2] * 3] * 2


def test_the_index_can_be_of_ready_models_only(server, client) -> None:
    client.unload_model("sum")
    everything = {entry["name"] for entry in client.get_model_repository_index()}
    status, ready = server.json("POST", "/v2/repository/index", {"ready": True})
    assert status == 200
    assert everything - {entry["name"] for entry in ready} == {"sum"}
    assert server.json("POST", "/v2/repository/index", {"ready": 1})[0] == 400


def test_what_is_not_there_cannot_be_loaded_or_unloaded(client) -> None:
    for act in (client.load_model, client.unload_model, client.get_inference_statistics):
        with pytest.raises(InferenceServerException, match="there is no model 'none'") as refused:
            act("none")
        assert refused.value.status() == "404"


def test_nothing_of_a_model_is_taken_from_a_client(server, client) -> None:
    with pytest.raises(InferenceServerException, match="'config' is not supported"):
        client.load_model("sum", config='{"backend": "mine"}')
    with pytest.raises(InferenceServerException, match="not supported"):
        client.load_model("sum", config="{}", files={"file:1/model.py": b"import os"})
    assert server.json("POST", "/v2/repository/models/sum/load", {"parameters": 5})[0] == 400
    assert server.json("POST", "/v2/repository/models/sum/load", [])[0] == 400
    assert server.request("POST", "/v2/repository/models/sum/load", b"x" * 70_000)[0] == 413


def test_a_model_stays_unloaded_where_the_engine_could_not_evict_it(server, client) -> None:
    async def lost(model: str) -> None:
        raise UnavailableError("the engine was lost")

    server.engine.evict = lost
    with pytest.raises(InferenceServerException, match="the engine was lost"):
        client.unload_model("sum")
    assert state_of(client, "sum")[0] == "UNAVAILABLE"


def test_statistics(server, client) -> None:
    infer(client)
    infer(client)
    server.engine.error = RunError("it failed")
    with pytest.raises(InferenceServerException, match="it failed"):
        infer(client)
    (statistics,) = client.get_inference_statistics("twice_int8", "1")["model_stats"]
    parts = statistics["inference_stats"]
    assert (statistics["name"], statistics["version"]) == ("twice_int8", "1")
    assert (statistics["inference_count"], statistics["execution_count"]) == (2, 2)
    assert statistics["last_inference"] > 1.7e12, "milliseconds since 1970"
    assert parts["queue"] == {"count": 2, "ns": 1_000_000}
    assert parts["compute_infer"] == {"count": 2, "ns": 22_000_000}
    assert parts["fail"]["count"] == 1
    assert statistics["batch_stats"] == [{"batch_size": 1, "compute_infer": {"count": 2, "ns": 22_000_000}}]
    assert statistics["cold_starts"] == {"count": 1, "ns": 20_000_000}
    for part in ("success", "compute_input", "compute_output"):
        assert parts[part]["count"] == 2
        assert parts[part]["ns"] > 0
    everything = client.get_inference_statistics()["model_stats"]
    assert {entry["name"] for entry in everything} == set(server.engine.models)
    assert sum(entry["inference_count"] for entry in everything) == 2
