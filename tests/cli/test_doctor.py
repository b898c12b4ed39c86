from __future__ import annotations

import builtins
import json
from pathlib import Path

import pytest
import torch

from deepplan.cli import doctor, findings
from deepplan.engine import topology
from deepplan.errors import BuildError, DeviceError


def test_the_machine_is_described(run) -> None:
    done = run("doctor")
    assert done.code == 0
    for wanted in ("torch", "compiled core", "driver", "GPU", "host devices", "pinned memory", "missing"):
        assert any(line.startswith(wanted) for line in done.out.splitlines())


def test_the_findings_are_json(run) -> None:
    found = json.loads(run("doctor", "--json").out)
    assert found["torch"] == str(torch.__version__)
    assert found["works"] is True
    assert found["pinned_memory"]["gbps"] > 0
    assert found["host_devices"]["measured_gbps"] == pytest.approx(4, rel=0.5)
    assert len(found["gpus"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)


def test_without_a_compiled_core_the_remedy_is_said(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise BuildError("the compiled part is missing: pip install .")

    monkeypatch.setattr(findings, "built_with", missing)
    done = run("doctor")
    assert done.code == 2
    assert "missing        the compiled part is missing: pip install ." in done.out


def test_a_torch_that_lacks_a_library_is_missing(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, *rest: object) -> object:
        if name == "torch":
            raise OSError("libcudart.so.13: cannot open shared object file")
        return real(name, *rest)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", fail)
    found = run("doctor")
    assert found.code == 2 and "libcudart.so.13: cannot open shared object file" in found.out


def test_a_device_that_fails_does_not_end_the_examination(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(found: object) -> None:
        raise DeviceError("no memory can be pinned")

    monkeypatch.setattr(findings, "_pinned_memory", fail)
    found = findings.examine(None)
    assert found["works"] and "no memory can be pinned" in found["missing"]


def test_gpus_are_surveyed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(topology, "_PROBE_BYTES", 1 << 20)
    monkeypatch.setattr(topology, "device_names", lambda backend: ("host:0", "host:1", "host:2"))
    found = findings.examine(str(tmp_path))
    assert [gpu["pci_bus_id"] for gpu in found["gpus"]] == ["", "", ""]
    assert [pair["devices"] for pair in found["peers"]] == [[0, 1], [0, 2], [1, 2]]
    assert [len(rates["gbps"]) for rates in found["links"]] == [1, 1, 1, 2, 2, 2, 3]
    assert found["links"][3]["devices"] == ["host:0", "host:1"]
    assert found["links"] == findings.examine(str(tmp_path))["links"]


GPU = {
    "name": "NVIDIA H200",
    "memory_bytes": 150e9,
    "pci_bus_id": "0000:1b:00.0",
    "pci_ancestry": [],
    "numa_node": 0,
    "decodes": True,
}


def test_gpus_pairs_and_links_have_a_line_each() -> None:
    found = {
        "gpus": [GPU, {**GPU, "pci_ancestry": ["pci0000:00", "0000:00:01.0", "0000:1b:00.0"], "numa_node": -1}],
        "peers": [{"devices": [0, 1], "access": True, "nvlink": True, "shared_pci_ancestors": 1}],
        "links": [{"devices": ["cuda:0", "cuda:1"], "gbps": [55.5, 54.5]}],
    }
    assert doctor._gpu_lines(found) == [
        "GPU 0          NVIDIA H200, 150 GB, PCIe 0000:1b:00.0, NUMA node 0",
        "GPU 1          NVIDIA H200, 150 GB, PCIe 0000:1b:00.0 below pci0000:00 > 0000:00:01.0",
        "GPUs 0-1       peer access, NVLink, 1 PCIe ancestors shared",
        "links 0 1      110.0 GB/s from pinned memory at once (55.5 + 54.5)",
    ]


BARE = {"gpus": [], "driver": None, "torch": "2.13.0+cpu", "torch_cuda": None, "no_gpu_because": "no driver"}
CORE = {"torch": "2.13.0", "torch_cuda": "none", "cuda_support": "none (host device only)"}


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({}, "none is needed"),
        ({"driver": "580.1"}, "install a CUDA build of torch"),
        ({"driver": "580.1", "torch_cuda": "13.0"}, "DEEPPLAN_CUDA=ON"),
        ({"driver": "580.1", "torch_cuda": "13.0", "core": {**CORE, "cuda_support": "13.0"}}, "no driver"),
        ({"gpus": [GPU]}, "cannot be used by torch"),
        ({"gpus": [GPU], "torch_cuda": "13.0", "peers": [{"devices": [0, 3], "access": False}]}, "GPUs 0 and 3"),
    ],
)
def test_what_is_missing_comes_with_its_remedy(change: dict[str, object], remedy: str) -> None:
    assert remedy in findings._remedies({**BARE, "core": CORE, "peers": [], **change})[0]


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("#!/bin/sh\necho 580.159.04\n", "580.159.04"),
        ("#!/bin/sh\nexec sleep 60\n", None),
        ("#!/nonexistent\n", None),
    ],
)
def test_a_tool_that_hangs_or_does_not_start_is_a_driver_not_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, version: str | None
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(script)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(findings, "_KERNEL_DRIVER", tmp_path / "missing")
    monkeypatch.setattr(findings, "_TOOL_TIMEOUT_S", 0.5)
    assert findings._driver_version() == version
