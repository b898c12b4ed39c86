"""Engines that follow one another in memory that is kept for them. Each is a process of its own, as they would be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from deepplan.errors import InvalidInputError
from deepplan.export.capture import capture
from deepplan.export.folder import write_folder
from deepplan.serving.kept_models import KeptModel

COLUMNS = 512
# Serves two instances, prints what is to be kept, an answer, and what registering took; then ends without warning.
ENGINE = """
import asyncio, json, os, sys, time
from deepplan.serving.deployment import Deployment, ServedSource
from deepplan.serving.inference import TensorData
from deepplan.serving.kept_memory import KeptMemory
from deepplan.serving.local_engine import LocalEngine
import numpy as np

file, folder, kept, device = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
models = {}
memory = KeptMemory(file, {int(k): v for k, v in kept.items()}, models.__setitem__)
served = (ServedSource(folder, instances=2, trust=False),)

async def main():
    engine = LocalEngine(Deployment(served, devices=(device,), gpu_memory_bytes=256 << 20), sys.argv[5], memory)
    await engine.start()
    x = np.full((1, 512), 0.01, np.float32)
    sums = []
    for name in engine.models:
        answer = await engine.infer(name, [TensorData("input", "FP32", x.shape, x.tobytes())])
        sums.append(np.frombuffer(answer.outputs[0].data, np.float32).tolist())
    print(json.dumps({"models": models, "answers": sums, "pinned": (await engine.status()).pinned_used_bytes}))
    sys.stdout.flush()
    os._exit(9)

asyncio.run(main())
"""


@pytest.fixture
def file() -> Iterator[int]:
    descriptor = os.memfd_create("weights")
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    layers = [torch.nn.Linear(COLUMNS, COLUMNS) for _ in range(4)]
    module = torch.nn.Sequential(*layers).eval().requires_grad_(False)
    captured = capture(module, (torch.zeros(1, COLUMNS),), {})
    write_folder(tmp_path / "chain", captured.graph, captured.storages, name="chain", dtype="fp32")
    torch.save(module(torch.full((1, COLUMNS), 0.01)), tmp_path / "expected.pt")
    return tmp_path / "chain"


def serve(file: int, folder: Path, kept: dict[str, Any], device: str) -> dict[str, Any]:
    home = folder.parent / "home"
    command = [sys.executable, "-c", ENGINE, str(file), str(folder), json.dumps(kept), device, str(home)]
    done = subprocess.run(command, pass_fds=(file,), capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    expected = torch.load(folder.parent / "expected.pt")
    for answer in found["answers"]:
        torch.testing.assert_close(torch.tensor([answer]), expected)
    return found


def held_bytes(file: int) -> int:
    return os.fstat(file).st_blocks * 512


@pytest.mark.parametrize("device", ["host:0", pytest.param("cuda:0", marks=pytest.mark.cuda)])
def test_the_next_engine_needs_no_source(file: int, folder: Path, device: str) -> None:
    first = serve(file, folder, {}, device)
    assert list(first["models"]) == ["0"]
    held = held_bytes(file)
    assert held >= 2 * 4 * COLUMNS * COLUMNS * 4
    for path in folder.iterdir():
        path.write_bytes(b"")  # whoever reads it again fails
    for _ in range(3):
        again = serve(file, folder, first["models"], device)
        assert again["models"] == {}  # nothing was registered
        assert again["pinned"] == first["pinned"]
        assert held_bytes(file) <= held


def test_what_cannot_be_adopted_is_registered_anew(file: int, folder: Path) -> None:
    kept = serve(file, folder, {}, "host:0")["models"]
    held = held_bytes(file)
    kept["0"]["copies"][1]["offset"] -= 512  # of the other's
    assert list(serve(file, folder, kept, "host:0")["models"]) == ["0"]
    kept["0"]["served"]["instances"] = 3
    assert list(serve(file, folder, kept, "host:0")["models"]) == ["0"]
    assert held_bytes(file) <= held  # what nobody adopted was given back


def test_only_what_was_kept_is_read() -> None:
    with pytest.raises(InvalidInputError, match="the key 'served' is missing"):
        KeptModel.from_json({})
    with pytest.raises(InvalidInputError, match="must be an object"):
        KeptModel.from_json([time.time()])
