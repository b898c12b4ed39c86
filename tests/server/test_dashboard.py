"""The page as a browser shows it, and the status that it polls."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from deepplan.errors import UnavailableError
from deepplan.server.recent import ColdStart
from deepplan.serving.inference import ModelMetadata

REQUEST = json.dumps(
    {"inputs": [{"name": name, "datatype": "FP32", "shape": [4], "data": [1, 2, 3, 4]} for name in "ab"]}
)
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")


@pytest.fixture
def server(serve):
    return serve()


def infer(server) -> None:
    assert server.request("POST", "/v2/models/sum/infer", REQUEST)[0] == 200


def browse(url: str, folder: Path, *options: str) -> tuple[str, str]:
    """The document as it is some seconds after it was opened, and what the browser logged."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}",
        "--enable-logging=stderr", "--virtual-time-budget=3000", "--window-size=1200,1000", *options, url,
    ]  # fmt: skip
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return finished.stdout, finished.stderr


def text_of(dom: str) -> str:
    """What a reader sees: no script, no style, no tags."""
    visible = re.sub(r"<(script|style)>.*?</\1>", "", dom, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", visible))


def test_the_status(server) -> None:
    status, answer = server.json("GET", "/status.json")
    assert status == 200
    assert answer["warm"] == answer["cold"] == {"count": 0, "p50_ms": None, "p99_ms": None}
    assert (answer["ready"], answer["under_way"], answer["models"]) == (True, 0, len(server.engine.models))
    for _ in range(3):
        infer(server)
    _, answer = server.json("GET", "/status.json")
    assert (answer["warm"]["count"], answer["cold"]["count"]) == (2, 1)
    assert answer["warm"]["p99_ms"] >= answer["warm"]["p50_ms"] > 0
    (start,) = answer["cold_starts"]
    assert (start["model"], start["gpu"], start["queue_ms"], start["run_ms"]) == ("sum", 0, 0.5, 20.0)
    assert 0 <= answer["now_s"] - start["ended_s"] < 60
    assert [gpu["name"] for gpu in answer["engine"]["gpus"]] == ["GPU-0", "GPU-1"]
    assert answer["engine"]["gpus"][0]["resident"] == ["sum"]
    assert answer["engine"]["path_bytes"]["pcie"] == 1000
    server.engine.status_error = UnavailableError("lost")
    assert server.json("GET", "/status.json")[1]["engine"] is None


def test_the_page_loads_nothing_from_elsewhere(server) -> None:
    status, headers, body = server.request("GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy
    page = body.decode()
    assert not re.search(r"https?://|\bsrc=|<link|@import|url\(|innerHTML|insertAdjacentHTML|\son\w+=", page)


def test_the_page_is_open_and_what_it_shows_is_not(serve) -> None:
    server = serve(token="secret")
    assert server.request("GET", "/")[0] == 200
    assert server.request("GET", "/status.json")[0] == 401
    assert server.request("GET", "/status.json", headers={"Authorization": "Bearer secret"})[0] == 200


@needs_browser
def test_a_browser_shows_the_server(server, tmp_path: Path) -> None:
    for _ in range(3):
        infer(server)
    dom, log = browse(f"http://{server.http}/", tmp_path, "--dump-dom")
    shown = text_of(dom)
    for expected in (
        "ready", "0 requests under way", "GPU-0 0 waiting", "3.0 GiB of 10.0 GiB", "1 resident sum",
        "Pinned memory 5.0 GiB of 64.0 GiB", "by nvlink 200 B", "evictions 7", "warm 2 ", "cold 1 ", "0.50 ms 20.0 ms",
    ):  # fmt: skip
        assert expected in shown, shown
    assert re.search(r'<div class="start" title="sum: 20.0 ms" style="left: [\d.]+%; width: [\d.]+%;">', dom)
    assert '<div style="width: 30%;">' in dom
    assert "CONSOLE" not in log, log


@needs_browser
def test_names_are_shown_and_never_obeyed(server, tmp_path: Path) -> None:
    model = server.engine.models["sum"]
    server.engine.models[HOSTILE] = ModelMetadata(HOSTILE, model.inputs, model.outputs)
    server.engine.resident.add(HOSTILE)
    server.server.service.recent.cold_starts.append(ColdStart(HOSTILE, 0, time.time(), 0.5, 20.0))
    dom, _ = browse(f"http://{server.http}/", tmp_path, "--dump-dom")
    assert "<title>deepplan</title>" in dom
    assert "<img" not in re.sub(r'title="[^"]*"', "", dom)
    assert text_of(dom).count("&lt;img src=x onerror=") == 2, "as a resident model and as a cold start"


@needs_browser
def test_a_browser_asks_for_the_token(serve, tmp_path: Path) -> None:
    server = serve(token="secret")
    dom, _ = browse(f"http://{server.http}/", tmp_path, "--dump-dom")
    assert '<form id="ask">' in dom
    assert '<main id="main" hidden="">' in dom


@needs_browser
def test_a_browser_shows_that_the_engine_is_silent(server, tmp_path: Path) -> None:
    server.engine.status_error = UnavailableError("lost")
    server.engine.ready = False
    dom, _ = browse(f"http://{server.http}/", tmp_path, "--dump-dom")
    assert "not ready" in text_of(dom)
    assert "The engine does not answer." in text_of(dom)
