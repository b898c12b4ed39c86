"""What lossless coding makes of weights, and how fast they are coded and decoded.

python experiments/weight_coding.py --devices 0 --weights model.safetensors

Random weights as the zoo has them, and those of a trained model if a safetensors file is given; each as fp32, bf16 and
fp16. Coding is timed on one core, decoding on the target, in pieces as they cross a link.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from deepplan import _core
from deepplan.engine.devices import resolve_devices
from provenance import provenance
from results_file import add_result_arguments, write_results

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PIECE_BYTES = 16 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and writes weight_coding.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=["0"], metavar="DEVICE", help="the target, which decodes")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a trained model's, as safetensors")
    parser.add_argument("--mib", type=int, default=64, metavar="MIB", help="of random weights")
    parser.add_argument("--repeat", type=int, default=5, metavar="N")
    add_result_arguments(parser)
    options = parser.parse_args(arguments)
    devices = resolve_devices(options.devices)
    rows = []
    for row in coding_rows(options.weights, options.mib << 20, devices.target, options.repeat):
        print(
            "{weights} as {dtype}: {kept:.3f} of the bytes kept, coded at {encode_gbps:.2f} GB/s a core, "
            "decoded at {decode_gbps:.0f} GB/s".format(**row),
            flush=True,
        )
        rows.append(row)
    write_results(options.results / "weight_coding.json", provenance(devices, options.commit), rows=rows)
    return 0


def coding_rows(weights: Path | None, random_bytes: int, device: str, repeats: int) -> Iterator[dict[str, Any]]:
    """A row for each source of weights and dtype; `decode_gbps` is the device's, of random weights."""
    sources = {"normal(0, 0.02)": _random(random_bytes)}
    if weights is not None:
        sources[weights.parent.parent.name or weights.stem] = _trained(weights)
    decoded = {name: _core.measure_decode_gbps(device, _torch_name(name), PIECE_BYTES) for name in DTYPES}
    for source, values in sources.items():
        for name, dtype in DTYPES.items():
            pieces = values.to(dtype).view(torch.uint8).split(PIECE_BYTES)
            sizes, seconds = [], []
            for _ in range(repeats):
                begin = time.perf_counter()
                sizes = [_core.coded_size(piece, _torch_name(name)) for piece in pieces]
                seconds.append(time.perf_counter() - begin)
            plain_bytes = sum(piece.numel() for piece in pieces)
            yield {
                "weights": source,
                "dtype": name,
                "plain_bytes": plain_bytes,
                "coded_bytes": sum(sizes),
                "kept": sum(sizes) / plain_bytes,
                "encode_gbps": plain_bytes / statistics.median(seconds) / 1e9,
                "decode_gbps": decoded[name],
                "repeats": repeats,
            }


def _random(size_bytes: int) -> torch.Tensor:
    return torch.empty(size_bytes // 4).normal_(0.0, 0.02, generator=torch.Generator().manual_seed(0))


def _trained(path: Path) -> torch.Tensor:
    from safetensors.torch import load_file

    floating = [tensor.float().reshape(-1) for tensor in load_file(path).values() if tensor.is_floating_point()]
    return torch.cat(floating)


def _torch_name(dtype: str) -> str:
    return str(DTYPES[dtype]).removeprefix("torch.")


if __name__ == "__main__":
    sys.exit(main())
