"""A server under load while clients leave and its engine is killed: every answer right, none lost, memory flat.

python experiments/serving_soak.py --devices host:0 host:1 --duration 600    # a few minutes are a smoke test
python experiments/serving_soak.py --devices 0 1 2 3 --duration 480

Serves a small model in several instances that do not all fit, in processes of its own, and calls it open-loop at a
share of the rate that it was first seen to answer. At random moments a client hangs up, and the engine's process is
killed. A request counts as accepted unless it is refused (429, 503); each accepted one must be answered, and rightly.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from results_file import add_result_arguments, write_results
from serving_soak_client import SoakClient
from serving_soak_server import SoakServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the soak and writes serving_soak.json. Returns 1 if a check failed."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_soak(options, Path(folder)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=["host:0", "host:1"], metavar="DEVICE", help="0 1 or host:0")
    parser.add_argument("--duration", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--instances", type=int, default=8, metavar="N")
    parser.add_argument(
        "--fitting", type=int, default=2, metavar="N", help="instances that fit on a device, on a GPU at least"
    )
    parser.add_argument("--load", type=float, default=0.8, metavar="SHARE", help="of what it answers (default 0.8)")
    parser.add_argument("--kill-every", type=float, default=20.0, metavar="SECONDS", help="the engine, on average")
    parser.add_argument(
        "--leaving", type=float, default=0.05, metavar="SHARE", help="of requests whose client hangs up"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    add_result_arguments(parser)
    return parser


async def _soak(options: argparse.Namespace, folder: Path) -> int:
    from deepplan.engine.devices import resolve_devices  # brings torch and the compiled core
    from provenance import provenance

    server = SoakServer(folder, options.devices, options.instances, options.fitting, options.seed)
    await server.start()
    try:
        async with SoakClient(server.url, server.model, options.instances, options.seed) as client:
            capacity_per_s = await client.find_capacity()
            print(f"answers {capacity_per_s:.0f} requests/s at most", flush=True)
            memory = [server.memory()]
            counts, _ = await asyncio.gather(
                client.soak(options.load * capacity_per_s, options.duration, options.leaving),
                server.kill_now_and_then(options.kill_every, options.duration, memory),
            )
            await client.settle()
            memory.append(server.memory())
            restarts = await client.restarts()
    finally:
        exit_code = await server.stop()
    summary = {
        **counts,
        "reasons": dict(client.reasons.most_common(_REASONS)),
        "capacity_per_s": capacity_per_s,
        "offered_per_s": options.load * capacity_per_s,
        "duration_s": options.duration,
        "kills": server.kills,
        "restarts": restarts,
        "exit_code": exit_code,
        "memory": memory,
    }
    failed = _failures(summary)
    write_results(
        options.results / "serving_soak.json",
        provenance(resolve_devices(options.devices), options.commit),
        summary=summary,
        failed=failed,
    )
    for name, value in summary.items():
        print(f"{name}: {value}")
    for failure in failed:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failed else 0


_REASONS = 8  # that are named, of those for which requests were refused or lost
# What the server's own process may grow by over a soak: statistics of new models, caches of libraries.
_GROWTH_SHARE, _GROWTH_BYTES = 0.1, 32 << 20


def _failures(summary: dict[str, object]) -> list[str]:
    counts = {name: value for name, value in summary.items() if isinstance(value, (int, float))}
    memory: list[dict[str, int]] = summary["memory"]  # type: ignore[assignment]
    failed = [f"{counts[name]} requests {name}" for name in ("wrong", "lost") if counts[name]]
    if counts["right"] < 10:
        failed.append(f"only {counts['right']} right answers: nothing was tested")
    if counts["restarts"] != counts["kills"]:
        failed.append(f"{counts['kills']} kills and {counts['restarts']} restarts")
    if counts["exit_code"] != 0:
        failed.append(f"the server ended with {counts['exit_code']}")
    for kind in ("server_bytes", "engine_bytes"):
        first, last = memory[0][kind], memory[-1][kind]
        if last > first * (1 + _GROWTH_SHARE) + _GROWTH_BYTES:
            failed.append(f"{kind} grew from {first} to {last}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
