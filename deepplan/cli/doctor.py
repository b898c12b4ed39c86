"""Show what was found on this machine: torch, CUDA, GPUs, links, pinned memory, what is missing and how to get it.

Exit code 0 wherever models can be run, be it on the host devices.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from deepplan.cli.arguments import add_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of `deepplan doctor`."""
    add_folder(parser)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the findings."""
    from deepplan.cli.findings import examine

    findings = examine(arguments.folder)
    print(json.dumps(findings, indent=2) if arguments.json else "\n".join(_lines(findings)))
    return 0 if findings["works"] else 2


def _lines(findings: dict[str, Any]) -> list[str]:
    lines = [
        f"deepplan       {findings['deepplan']}, Python {findings['python']}",
        f"torch          {findings['torch'] or 'cannot be imported'}, CUDA {findings['torch_cuda'] or 'none'}",
        f"compiled core  {_core_line(findings['core'])}",
        f"driver         {findings['driver'] or 'none found'}",
        *_gpu_lines(findings),
    ]
    if host := findings["host_devices"]:
        lines.append(
            f"host devices   {host['count']}: ordinary memory stands in for GPU memory, "
            f"links {host['link_gbps']:g} GB/s and {host['link_latency_us']:g} us, "
            f"measured {host['measured_gbps']:.1f} GB/s"
        )
    if pinned := findings["pinned_memory"]:
        lines.append(
            f"pinned memory  {pinned['bytes'] >> 20} MiB reserved in {pinned['reserve_ms']:.0f} ms: "
            f"{pinned['gbps']:.1f} GB/s"
        )
    lines += [f"missing        {remedy}" for remedy in findings["missing"]] or ["missing        nothing"]
    return lines


def _core_line(core: dict[str, Any] | None) -> str:
    if core is None:
        return "missing"
    return f"built against torch {core['torch']} (CUDA {core['torch_cuda']}), CUDA support: {core['cuda_support']}"


def _gpu_lines(findings: dict[str, Any]) -> list[str]:
    if not findings["gpus"]:
        return [f"GPUs           none ({findings['no_gpu_because'] or 'the compiled core does not load'})"]
    lines = [
        f"GPU {index:<10} {gpu['name']}, {gpu['memory_bytes'] / 1e9:.0f} GB, PCIe {gpu['pci_bus_id'] or 'not visible'}"
        f"{' below ' + ' > '.join(gpu['pci_ancestry'][:-1]) if gpu['pci_ancestry'] else ''}"
        f"{', NUMA node ' + str(gpu['numa_node']) if gpu['numa_node'] >= 0 else ''}"
        for index, gpu in enumerate(findings["gpus"])
    ]
    for pair in findings["peers"]:
        ways = "peer access" if pair["access"] else "no peer access"
        shared = "" if pair["shared_pci_ancestors"] < 0 else f", {pair['shared_pci_ancestors']} PCIe ancestors shared"
        lines.append(
            f"GPUs {pair['devices'][0]}-{pair['devices'][1]:<7} {ways}, "
            f"{'NVLink' if pair['nvlink'] else 'no NVLink'}{shared}"
        )
    for rates in findings["links"]:
        each = " + ".join(f"{gbps:.1f}" for gbps in rates["gbps"])
        names = " ".join(name.rpartition(":")[2] for name in rates["devices"])
        lines.append(f"links {names:<8} {sum(rates['gbps']):.1f} GB/s from pinned memory at once ({each})")
    return lines
