"""What `deepplan doctor` looks at. Nothing here fails: what cannot be found out is said to be missing."""

from __future__ import annotations

import importlib
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from deepplan import __version__
from deepplan._build_check import REINSTALL, built_with
from deepplan.cli.progress import progress
from deepplan.errors import BuildError, DeepPlanError

_PINNED_PROBE_BYTES = 256 << 20
_COPY_PROBE_BYTES = 16 << 20
_TOOL_TIMEOUT_S = 10
_KERNEL_DRIVER = Path("/proc/driver/nvidia/version")


def examine(folder: str | None) -> dict[str, Any]:
    """All findings, ready for JSON. `folder` is where measured links are kept, None for the user's cache folder."""
    findings: dict[str, Any] = {
        "deepplan": __version__,
        "python": platform.python_version(),
        "torch": None,
        "torch_cuda": None,
        "core": None,
        "driver": _driver_version(),
        "gpus": [],
        "no_gpu_because": "",
        "peers": [],
        "links": [],
        "host_devices": None,
        "pinned_memory": None,
        "works": False,
        "missing": [],
    }
    try:
        import torch

        findings["torch"], findings["torch_cuda"] = str(torch.__version__), torch.version.cuda
        built = built_with()
        findings["core"] = {
            "torch": built.torch_version,
            "torch_cuda": built.torch_cuda,
            "cuda_support": built.cuda_support,
        }
        importlib.import_module("deepplan._core")
    except (ImportError, OSError, BuildError) as error:  # OSError: a library that torch loads is missing
        findings["missing"].append(_plain(error))
        return findings
    _examine_devices(findings, folder)
    findings["missing"] += _remedies(findings)
    return findings


def _examine_devices(findings: dict[str, Any], folder: str | None) -> None:
    from deepplan import _core

    findings["no_gpu_because"] = _core.unavailable_reason("cuda")
    for examination in (_host_devices, _pinned_memory, lambda found: _gpus(found, folder)):
        try:
            examination(findings)
        except DeepPlanError as error:
            findings["missing"].append(_plain(error))
    findings["works"] = bool(findings["host_devices"] or findings["gpus"])


def _host_devices(findings: dict[str, Any]) -> None:
    from deepplan import _core
    from deepplan.engine.machine import HostLinks

    links = HostLinks()
    findings["host_devices"] = {
        "count": _core.device_count("host"),
        "link_gbps": links.link_gbps,
        "link_latency_us": links.link_latency_us,
        "measured_gbps": _core.measure_host_to_device_gbps(["host:0"], _COPY_PROBE_BYTES)[0],
    }


def _pinned_memory(findings: dict[str, Any]) -> None:
    from deepplan import _core

    wanted_bytes = _core.arena_stats().reserved_bytes + _PINNED_PROBE_BYTES
    started = time.perf_counter()
    _core.reserve_arena(wanted_bytes)
    seconds = time.perf_counter() - started
    _core.trim_arena()
    findings["pinned_memory"] = {
        "bytes": _PINNED_PROBE_BYTES,
        "reserve_ms": seconds * 1e3,
        "gbps": _PINNED_PROBE_BYTES / seconds / 1e9,
    }


def _gpus(findings: dict[str, Any], folder: str | None) -> None:
    from deepplan import _core
    from deepplan.engine.store import Store
    from deepplan.engine.topology import device_names, survey_links

    names = device_names("cuda")
    if not names:
        return
    topology = _core.discover_topology(names)
    findings["gpus"] = [
        {
            "name": device.name,
            "memory_bytes": _core.memory_info(name)[1],
            "pci_bus_id": device.pci_bus_id,
            "pci_ancestry": list(device.pci_ancestry),
            "numa_node": device.numa_node,
            "decodes": _core.can_decode(name),
        }
        for name, device in zip(names, topology.devices)
    ]
    findings["peers"] = [
        {
            "devices": [a, b],
            "access": topology.peers[a][b].access and topology.peers[b][a].access,
            "nvlink": topology.looks_like_nvlink(a, b),
            "shared_pci_ancestors": topology.shared_pci_ancestors(a, b),
        }
        for b in range(len(names))
        for a in range(b)
    ]
    with progress("measuring the links of the GPUs") as report:
        survey = survey_links(names, Store(folder).folder, report)
    findings["links"] = [{"devices": list(rates.devices), "gbps": list(rates.gbps)} for rates in survey.rates]


def _driver_version() -> str | None:
    """NVIDIA's driver, from the kernel or, where a container hides that, from its tool."""
    try:
        text = _KERNEL_DRIVER.read_text()
    except OSError:
        tool = shutil.which("nvidia-smi")
        if tool is None:
            return None
        query = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            text = subprocess.run(query, capture_output=True, text=True, check=False, timeout=_TOOL_TIMEOUT_S).stdout
        except (OSError, subprocess.TimeoutExpired):  # it hangs while a driver does
            return None
    version = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
    return version.group() if version else None


def _remedies(findings: dict[str, Any]) -> list[str]:
    """What stands between this machine and its GPUs, or between them, with the way to get it."""
    if findings["gpus"]:
        if findings["torch_cuda"] is None:
            return [
                f"GPUs cannot be used by torch {findings['torch']}: install a CUDA build of torch, then {REINSTALL}"
            ]
        remedies = []
        if not all(gpu["decodes"] for gpu in findings["gpus"]):
            remedies.append(
                "kernels that decode weights: install the CUDA toolkit, for its nvcc, and deepplan again; until then "
                "weights cross the links as they are"
            )
        apart = [pair["devices"] for pair in findings["peers"] if not pair["access"]]
        return [*remedies, *(f"peer access between GPUs {a} and {b}: plans cannot use both links" for a, b in apart)]
    if findings["driver"] is None:
        return [
            "a GPU: none is needed, the host devices stand in; with one, install NVIDIA's driver and run this again"
        ]
    if findings["torch_cuda"] is None:
        return [f"CUDA in torch {findings['torch']}: install a CUDA build of torch, then {REINSTALL}"]
    if findings["core"]["cuda_support"].startswith("none"):
        return ["CUDA in deepplan: install it again from its source folder: DEEPPLAN_CUDA=ON pip install --no-deps ."]
    return [f"a GPU that CUDA can use: {findings['no_gpu_because']}"]


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())
