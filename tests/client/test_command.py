"""`deepplan client` against a server that does what it is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepplan.cli import main
from deepplan.client.report import Report

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["client", *map(str, arguments)])
        return (code, *capfd.readouterr())

    return run


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_workload_is_sent_and_reported(
    protocol: str, serve: Callable[..., Any], command: Command, tmp_path: Path
) -> None:
    server = serve(what=lambda number: ("cold", "answer", "refuse", "fail")[number % 4])
    flags = ["--url", server.url(protocol), "-m", "bert=3", "-m", "gpt", "--rate", 100, "--duration", "1s"]
    output, plot = tmp_path / "report.json", tmp_path / "load.png"
    code, out, err = command(*flags, "--slo", "20s", "--output", output, "--plot", plot)
    assert code == 0, err
    assert "simple, rate 100, duration 1s, seed 0" in out and "bert" in out and "told to fail" in out
    assert "sending" in err
    report = Report.load(output)
    requests = report.total.requests
    assert requests == len(server.calls) > 50
    assert abs(report.total.refused - requests / 4) <= 1 and abs(report.total.failed - requests / 4) <= 1
    assert report.total.goodput == report.total.answered / requests
    assert report.total.cold_rate == pytest.approx(0.5, abs=0.05)
    assert {each.model: each.instances for each in report.models} == {"bert": 3, "gpt": 1}
    assert set(server.calls) == {"bert-0", "bert-1", "bert-2", "gpt"}
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_calls_the_same_instances(serve: Callable[..., Any], command: Command) -> None:
    calls = []
    for seed in (1, 1, 2):
        server = serve()
        flags = ["--url", server.http_url, "-m", "m=10", "--rate", 200, "--duration", "500ms", "--seed", seed]
        code, out, _ = command(*flags, "--json")
        assert code == 0
        assert json.loads(out)["total"]["answered"] == len(server.calls)
        calls.append((Counter(server.calls), server.tensors))
    assert calls[0] == calls[1] != calls[2]


def test_lateness_is_warned_of(serve: Callable[..., Any], command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Report, "distorted", True)
    code, _, err = command("--url", serve().http_url, "-m", "m", "--rate", 50, "--duration", "200ms")
    assert code == 0 and "deepplan: warning: requests were sent late by" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--model"),
        (["-m", "m"], "needs --rate"),
        (["-m", "m=0", "--rate", "1"], "--model m=0"),
        (["-m", "m", "--rate", "1", "--slo", "100"], "--slo 100"),
        (["-m", "m", "--rate", "1", "--timeout", "x"], "--timeout x"),
        (["-m", "m", "--rate", "1", "--url", "localhost:8000"], "grpc://"),
        (["-m", "m", "--rate", "1", "--url", "http://127.0.0.1:9"], "no server answers at http://127.0.0.1:9"),
        (["-m", "m", "--rate", "1", "--max-concurrent", "0"], "--max-concurrent 0"),
        (["-m", "m", "--rate", "1", "--integers-below", "0"], "--integers-below 0"),
        (["-m", "m", "--rate", "1", "--plot", "load.txt"], ".png"),
        (["-m", "m", "--rate", "1", "--output", "/nonexistent/x.json"], "/nonexistent"),
        (["-m", "m", "--rate", "1", "--token-file", "/nonexistent"], "--token-file /nonexistent"),
        (["-m", "m", "--rate", "1", "--ca-file", "/nonexistent"], "--ca-file /nonexistent"),
    ],
)
def test_misuse_is_one_line(command: Command, arguments: list[str], named: str) -> None:
    code, out, err = command(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("deepplan: error: ") and named in err


def test_an_unknown_model_is_refused_before_anything_is_sent(serve: Callable[..., Any], command: Command) -> None:
    server = serve()
    code, _, err = command("--url", server.http_url, "-m", "nosuch=2", "--rate", 50)
    assert (code, server.calls) == (2, [])
    assert "'nosuch-0'" in err.splitlines()[-1]


def test_a_token_comes_from_its_file(serve: Callable[..., Any], command: Command, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    flags = ["--url", serve(token="s3cret").http_url, "-m", "m", "--rate", 50, "--duration", "100ms"]
    assert command(*flags, "--token-file", tmp_path / "token")[0] == 0
    assert command(*flags)[0] == 2


def test_interruption_is_one_line(serve: Callable[..., Any], tmp_path: Path) -> None:
    server = serve()
    flags = ["--url", server.http_url, "-m", "m", "--rate", "50", "--duration", "1h", "--output", "report.json"]
    running = subprocess.Popen(
        [sys.executable, "-m", "deepplan.cli", "client", *flags],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with this signal ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert server.wait_for_calls(5)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "deepplan: interrupted\n")
    assert not (tmp_path / "report.json").exists()
