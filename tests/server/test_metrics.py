"""What Prometheus is told, read as Prometheus' own library reads it."""

from __future__ import annotations

import asyncio
import http.client
import json

import pytest

from deepplan.errors import OverloadedError, RunError, UnavailableError
from deepplan.serving.inference import EngineStatus

parser = pytest.importorskip("prometheus_client.parser")

REQUEST = json.dumps(
    {"inputs": [{"name": name, "datatype": "FP32", "shape": [4], "data": [1, 2, 3, 4]} for name in "ab"]}
)
SUM = {"model": "sum", "version": "1"}


class Metrics:
    """One scrape: `metrics("name", label="value")` is a sample's value."""

    def __init__(self, server, **headers: str) -> None:
        status, self.headers, body = server.request("GET", "/metrics", headers=headers)
        assert status == 200
        self.text = body.decode()
        families = list(parser.text_string_to_metric_families(self.text))
        self.types = {family.name: family.type for family in families}
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self._samples[name, frozenset(labels.items())]

    def names(self) -> set[str]:
        return {name for name, _ in self._samples}


@pytest.fixture
def server(serve):
    return serve()


def infer(server, model: str = "sum") -> int:
    status, _, _ = server.request("POST", f"/v2/models/{model}/infer", REQUEST)
    return status


def test_requests_are_counted_by_what_became_of_them(server) -> None:
    infer(server)
    infer(server)
    for error in (RunError("it failed"), OverloadedError("too late", 0.1), UnavailableError("not now"), KeyError("x")):
        server.engine.error = error
        infer(server)
    metrics = Metrics(server)
    assert metrics("nv_inference_request_success", **SUM) == 2
    assert metrics("nv_inference_count", **SUM) == 2
    assert metrics("nv_inference_exec_count", **SUM) == 2
    assert metrics("nv_inference_pending_request_count", **SUM) == 0
    for reason, count in {"REJECTED": 1, "BACKEND": 1, "OTHER": 2, "CANCELED": 0}.items():
        assert metrics("nv_inference_request_failure", **SUM, reason=reason) == count
    assert metrics("nv_inference_queue_duration_us", **SUM) == 1000
    assert metrics("nv_inference_compute_infer_duration_us", **SUM) == 22_000
    assert metrics("nv_inference_request_duration_us", **SUM) > 0
    assert metrics("nv_inference_request_success", model="twice_int8", version="1") == 0, "even if never asked"


def test_a_request_under_way_is_pending(server) -> None:
    server.engine.delay_s = 30
    connection = http.client.HTTPConnection(server.http)
    connection.request("POST", "/v2/models/sum/infer", REQUEST)
    assert server.engine.started.wait(10)
    assert Metrics(server)("nv_inference_pending_request_count", **SUM) == 1
    connection.close()
    assert server.engine.cancelled.wait(10)
    metrics = Metrics(server)
    assert metrics("nv_inference_pending_request_count", **SUM) == 0
    assert metrics("nv_inference_request_failure", **SUM, reason="CANCELED") == 1


def test_cold_starts_are_counted_and_timed(server) -> None:
    infer(server)
    infer(server)
    metrics = Metrics(server)
    assert metrics("deepplan_cold_starts_total", **SUM) == 1
    assert metrics("deepplan_provision_seconds_count") == 1
    assert metrics("deepplan_provision_seconds_sum") == pytest.approx(0.02)
    assert metrics("deepplan_provision_seconds_bucket", le="0.01") == 0
    assert metrics("deepplan_provision_seconds_bucket", le="0.025") == 1
    assert metrics("deepplan_provision_seconds_bucket", le="+Inf") == 1


def test_what_the_engine_says_of_itself(server) -> None:
    infer(server)
    metrics = Metrics(server)
    assert metrics("nv_gpu_memory_used_bytes", gpu="GPU-0") == 3 << 30
    assert metrics("nv_gpu_memory_total_bytes", gpu="GPU-1") == 10 << 30
    assert metrics("deepplan_resident_models", gpu="GPU-0") == 1
    assert metrics("deepplan_resident_models", gpu="GPU-1") == 0
    assert metrics("deepplan_queued_requests", gpu="GPU-1") == 1
    assert metrics("nv_pinned_memory_pool_total_bytes") == 64 << 30
    assert metrics("nv_pinned_memory_pool_used_bytes") == 5 << 30
    assert metrics("deepplan_evictions_total") == 7
    assert metrics("deepplan_engine_restarts_total") == 1
    for path, size_bytes in {"pcie": 1000, "nvlink": 200, "zero_copy": 30}.items():
        assert metrics("deepplan_bytes_total", path=path) == size_bytes


def test_of_an_engine_that_is_being_restarted_nothing_is_said_to_be_0(server, monkeypatch) -> None:
    async def status() -> EngineStatus:
        return EngineStatus((), 0, 0, 0, {}, restarts=2)

    monkeypatch.setattr(server.engine, "status", status)
    metrics = Metrics(server)
    assert metrics("deepplan_engine_restarts_total") == 2
    assert not {"nv_pinned_memory_pool_used_bytes", "deepplan_evictions_total"} & metrics.names()


def test_refusals_are_counted_whatever_model_they_named(serve) -> None:
    server = serve(token="secret")
    headers = {"Authorization": "Bearer secret"}
    server.request("POST", "/v2/models/sum/infer", "{}")
    server.request("POST", "/v2/models/sum/infer", "{}", headers)
    server.request("POST", "/v2/models/none/infer", REQUEST, headers)
    server.engine.error = OverloadedError("too late", 0.1)
    server.request("POST", "/v2/models/sum/infer", REQUEST, headers)
    assert server.request("GET", "/metrics")[0] == 401
    metrics = Metrics(server, **headers)
    for reason, count in {
        "unauthenticated": 2,
        "invalid_argument": 1,
        "not_found": 1,
        "resource_exhausted": 1,
    }.items():
        assert metrics("deepplan_refused_requests_total", reason=reason) == count
    assert "none" not in metrics.text, "clients cannot make labels"


@pytest.mark.parametrize("silent", ["refusing", "hanging"])
def test_the_rest_is_told_where_the_engine_is_silent(server, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if silent == "refusing":
        server.engine.status_error = UnavailableError("lost")
    else:
        monkeypatch.setattr("deepplan.server.service._STATUS_TIMEOUT_S", 0.05)
        monkeypatch.setattr(server.engine, "status", lambda: asyncio.sleep(30))
    infer(server)
    metrics = Metrics(server)
    assert metrics("nv_inference_request_success", **SUM) == 1
    assert "nv_gpu_memory_used_bytes" not in metrics.names()


def test_types_and_formats(server) -> None:
    infer(server)
    metrics = Metrics(server)
    assert metrics.headers["content-type"].startswith("text/plain")
    assert metrics.types["deepplan_provision_seconds"] == "histogram"
    assert metrics.types["deepplan_cold_starts"] == "counter"
    assert metrics.types["nv_inference_pending_request_count"] == "gauge"
    from prometheus_client.openmetrics import parser as openmetrics

    _, headers, body = server.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
    assert headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in openmetrics.text_string_to_metric_families(body.decode())}
    assert {"deepplan_cold_starts", "nv_inference_request_success"} <= names


def test_servers_of_one_process_do_not_mix(serve, server) -> None:
    infer(serve())
    assert Metrics(server)("nv_inference_request_success", **SUM) == 0
