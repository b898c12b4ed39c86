"""The whole of it: a server with the real engine in a process of its own, and clients that know nothing of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from deepplan.client.report import Report
from deepplan.export.capture import capture
from deepplan.export.folder import write_folder

triton_grpc = pytest.importorskip("tritonclient.grpc")
triton_http = pytest.importorskip("tritonclient.http")

from tritonclient.utils import InferenceServerException  # noqa: E402

TOKENS = np.array([[1, 2, 3, 4], [5, 6, 7, 499]], np.int64)


@dataclass(frozen=True)
class Served:
    """Where it listens, and what it should answer to `TOKENS`."""

    http: int
    grpc: int
    expected: np.ndarray


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("plans")
    tiny_folder = tmp_path_factory.mktemp("models") / "tiny"
    module = torch.nn.Sequential(torch.nn.Embedding(500, 32), torch.nn.Linear(32, 64), torch.nn.Linear(64, 8)).eval()
    tokens = torch.from_numpy(TOKENS)
    captured = capture(module, (tokens,), {})
    write_folder(tiny_folder, captured.graph, captured.storages, name="tiny", dtype="fp32", batch_size=2)
    flags = [f"--model={tiny_folder}=3", "--gpus=host:0,host:1", "--pt=2", "--http-port=0", "--grpc-port=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "deepplan.cli", "serve", *flags, "-p", str(folder)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        first = json.loads(process.stderr.readline())
        while json.loads(process.stderr.readline())["event"] != "ready":
            pass
        # Somebody must read on, or the server's log fills the pipe.
        reader = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield Served(first["http"], first["grpc"], module(tokens).detach().numpy())
        process.terminate()
        assert process.wait(60) == 0
        reader.wait(10)
    finally:
        process.kill()
        process.wait()


def _call(module, client, model: str, tokens: np.ndarray = TOKENS):  # type: ignore[no-untyped-def]
    """By unmodified clients, whose two modules have the same names."""
    metadata = client.get_model_metadata(model)
    inputs = metadata["inputs"] if isinstance(metadata, dict) else metadata.inputs
    name = inputs[0]["name"] if isinstance(metadata, dict) else inputs[0].name
    sent = module.InferInput(name, tokens.shape, "INT64")
    sent.set_data_from_numpy(tokens)
    return client.infer(model, [sent])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tritonclient_gets_right_answers_from_the_engine(served: Served, protocol: str) -> None:
    module = triton_http if protocol == "http" else triton_grpc
    client = module.InferenceServerClient(f"127.0.0.1:{getattr(served, protocol)}")
    try:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tiny-2")
        for model in ("tiny-0", "tiny-1", "tiny-2"):
            np.testing.assert_allclose(_call(module, client, model).as_numpy("output"), served.expected, rtol=1e-5)
        with pytest.raises(InferenceServerException, match="tiny-3"):
            _call(module, client, "tiny-3")
        with pytest.raises(InferenceServerException, match="shape"):
            _call(module, client, "tiny-0", TOKENS[:1])
        client.unload_model("tiny-1")
        assert not client.is_model_ready("tiny-1")
        with pytest.raises(InferenceServerException):
            _call(module, client, "tiny-1")
        client.load_model("tiny-1")
        answer = _call(module, client, "tiny-1")
        np.testing.assert_allclose(answer.as_numpy("output"), served.expected, rtol=1e-5)
        response = answer.get_response()
        cold = response["parameters"]["cold"] if protocol == "http" else response.parameters["cold"].bool_param
        assert cold is True  # it was unloaded
        np.testing.assert_allclose(_call(module, client, "tiny-1").as_numpy("output"), served.expected, rtol=1e-5)
    finally:
        client.close()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_workload_is_answered_and_reported(served: Served, protocol: str, tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    command = [sys.executable, "-m", "deepplan.cli", "client", "--model=tiny=3", "--integers-below=500"]
    command += [f"--url={protocol}://127.0.0.1:{getattr(served, protocol)}", "--slo=10s", f"--output={report_file}"]
    done = subprocess.run([*command, "--workload=simple", "--rate=40", "--duration=2s"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    total = Report.load(report_file).total
    assert total.requests > 40 and total.answered == total.requests and total.goodput == 1
    assert total.cold_rate is not None and total.run_p99_ms is not None
