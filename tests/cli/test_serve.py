"""What the flags of `deepplan serve` mean, what is refused, and a server from its start to its end."""

from __future__ import annotations

import http.client
import json
import logging
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepplan.cli import serve
from deepplan.cli.parser import parse
from deepplan.cli.serve_settings import SETTINGS
from deepplan.server.settings import ServerSettings
from deepplan.serving.deployment import Deployment, ServedSource

Served = Callable[..., tuple[Deployment, ServerSettings, Path | None]]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, run) -> Iterator[Served]:
    """What `deepplan serve` with these arguments hands to the engine and to the server, neither of which begins."""
    logger = logging.getLogger("deepplan.server")
    before = logger.handlers, logger.level, logger.propagate
    handed: list[Any] = []

    class Engine:
        def __init__(self, deployment: Deployment, folder: Path | None = None) -> None:
            handed.extend([deployment, folder])

    async def serve_nothing(engine: Engine, settings: ServerSettings) -> None:
        handed.insert(1, settings)

    module = types.SimpleNamespace(ProcessEngine=Engine)
    monkeypatch.setitem(sys.modules, "deepplan.serving.process_engine", module)
    monkeypatch.setattr("deepplan.server.process.serve_until_signal", serve_nothing)

    def serve_with(*arguments: object) -> tuple[Deployment, ServerSettings, Path | None]:
        handed.clear()
        done = run("serve", *arguments)
        assert (done.code, done.out, done.err) == (0, "", "")
        return tuple(handed)  # type: ignore[return-value]

    yield serve_with
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def test_models_are_enough(served: Served) -> None:
    deployment, settings, folder = served("-m", "resnet50=2", "--model", "bert_base")
    assert deployment == Deployment((ServedSource("resnet50", instances=2), ServedSource("bert_base")))
    assert (settings, folder) == (ServerSettings(), None)


def test_every_setting_has_a_flag(served: Served, tmp_path: Path, tiny_folder: Path, certificate) -> None:
    (tmp_path / "token").write_text("secret")
    deployment, settings, folder = served(
        *("--model", "gpt2", "--model", f"{tiny_folder}=3", "--dtype", "bf16", "--batch-sizes", "1,2,4"),
        *("--gpus", "0,1,2,3", "--gpu-memory", "10.5GiB", "--slo", "100ms", "--engine", "demand", "--pt", "2"),
        *("--no-coding", "--host", "::1", "--http-port", "0", "--grpc-port", "1", "--token-file", tmp_path / "token"),
        *("--certificate", certificate[0], "--key", certificate[1], "--max-body", "1MB", "--max-concurrent", "5"),
        *("--body-timeout", "1s", "--idle-timeout", "4s", "--request-timeout", "2s", "--drain-timeout", "3s"),
        *("--no-log-requests", "-p", tmp_path / "plans"),
    )
    models = ServedSource("gpt2", dtype="bf16", batch_sizes=(1, 2, 4)), ServedSource(str(tiny_folder), instances=3)
    assert deployment == Deployment(models, ("0", "1", "2", "3"), 21 << 29, 100, "demand", 2, coding=False)
    assert settings == ServerSettings(
        "::1", 0, 1, "secret", str(certificate[0]), str(certificate[1]), 10**6, 5, 1, 4, 2, 3, log_requests=False
    )
    assert folder == tmp_path / "plans"


def test_flags_are_the_keys_of_the_file() -> None:
    _, given = parse(["serve", *(text for key, s in SETTINGS.items() for text in _flag_with_a_value(key, s.is_switch))])
    assert set(SETTINGS) <= set(vars(given))


def _flag_with_a_value(key: str, is_switch: bool) -> list[str]:
    flag = "--" + key.replace("_", "-")
    return [flag] if is_switch else [flag, "1"]


def test_flags_win_over_the_file(served: Served, tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(
        "models: [gpt2, {source: bert_base, dtype: fp16}]\ncoding: false\nslo: 1s\ngpus: [0, 1]\nmax_concurrent: 3"
    )
    deployment, settings, _ = served(config)
    assert deployment.objective_ms == 1000 and not deployment.coding and settings.grpc_port == 8001
    deployment, settings, _ = served(config, "--slo", "50ms", "--coding", "--no-grpc", "--dtype", "bf16")
    assert (deployment.objective_ms, deployment.coding, deployment.devices) == (50, True, ("0", "1"))
    assert (settings.grpc_port, settings.max_concurrent_requests) == (None, 3)
    assert [model.dtype for model in deployment.models] == ["bf16", "fp16"]  # the model's own stays
    deployment, _, _ = served(config, "-m", "resnet50")
    assert deployment.models == (ServedSource("resnet50"),)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is nothing to serve"),
        (["--slo", "1s"], "there is nothing to serve"),
        (["nosuch.yaml"], "cannot read nosuch.yaml"),
        (["-m", "nosuch"], "no model 'nosuch'"),
        (["-m", "gpt2=x"], "no model 'gpt2=x'"),
        (["-m", "gpt2=0"], "--model gpt2=0: instances is 0"),
        (["-m", "gpt2=999999999"], "999999999 instances are more than one server takes"),
        (["-m", "gpt2=2", "-m", "gpt2=3"], "two models are named gpt2-0"),
        (["-m", "gpt2", "--slo", "5"], "--slo 5: it is a duration"),
        (["-m", "gpt2", "--gpu-memory", "5"], "--gpu-memory 5: it is a size"),
        (["-m", "gpt2", "--gpus", "0,,1"], "--gpus is '0,,1'"),
        (["-m", "gpt2", "--gpus", "0,0"], "--gpus: the device 0 is named twice"),
        (["-m", "gpt2", "--gpus", "0,1,2", "--pt", "2"], "pt=2: 3 devices"),
        (["-m", "gpt2", "--pt", "two"], "--pt is 'two'"),
        (["-m", "gpt2", "--engine", "magic"], "--engine is 'magic'"),
        (["-m", "gpt2", "--dtype", "int8"], "--dtype is 'int8'"),
        (["-m", "gpt2", "--batch-sizes", "2"], "--batch-sizes: batch_sizes is [2]"),
        (["-m", "gpt2", "--http-port", "70000"], "--http-port is 70000"),
        (["-m", "gpt2", "--token-file", "nosuch"], "--token-file nosuch: cannot be read"),
        (["-m", "gpt2", "--certificate", "x"], "belong together"),
        (["-m", "gpt2", "--certificate", "x", "--key", "y"], "cannot use certificate_file x with key_file y"),
        (["-m", "gpt2", "-p", "/dev/null"], "cannot write to the folder /dev/null"),
    ],
)
def test_misuse_is_one_line_and_brings_no_torch(arguments: list[str], said: str, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom deepplan.cli import main\n"
        f"code = main(['serve', *{arguments!r}])\n"
        "assert not {'torch', 'deepplan._native'} & set(sys.modules)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_what_is_not_installed_is_named(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "grpc" else name)
    done = run("serve", "-m", "resnet50")
    assert (done.code, done.err) == (
        2,
        "deepplan: error: grpc is not installed; install it by pip install 'deepplan[serve]'\n",
    )


def test_a_server_answers_and_ends_by_a_signal(tmp_path: Path, tiny_folder: Path) -> None:
    """The real engine, on host devices."""
    config = tmp_path / "serve.yaml"
    config.write_text(f"models: [{{source: {tiny_folder}, instances: 2, name: small}}]\ngpus: [host:0]\nhttp_port: 0\n")
    command = [sys.executable, "-m", "deepplan.cli", "serve", str(config), "--no-grpc", "-p", str(tmp_path / "plans")]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines = []
        for line in process.stderr:
            lines.append(json.loads(line))
            if lines[-1]["event"] == "ready":
                break
        assert [line["event"] for line in lines] == ["listening", "registered", "ready"]
        tokens = {"name": "tokens", "datatype": "INT64", "shape": [2, 4], "data": [0] * 8}
        status, answer = _post(lines[0]["http"], "/v2/models/small-1/infer", {"inputs": [tokens]})
        assert (status, answer["outputs"][0]["shape"]) == (200, [2, 4, 8])
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "")
        assert [json.loads(line)["event"] for line in err.splitlines()] == ["infer"]
    finally:
        process.kill()
        process.communicate()


def _post(port: int, path: str, content: object) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, json.dumps(content))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
