"""Send a workload to a server of the Open Inference Protocol v2, on time whatever becomes of it, and report.

Latencies count from when a request was due: a stall is charged for all the requests that were due meanwhile.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deepplan.cli.arguments import check_count, check_output_file
from deepplan.cli.instances import named_instances
from deepplan.cli.quantities import duration_ms
from deepplan.cli.workload import add_workload, workload_arrivals, workload_text
from deepplan.errors import InvalidInputError

if TYPE_CHECKING:
    from deepplan.client.requests import Requests
    from deepplan.serving.arrivals import Arrivals

_MAX_KEY_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of `deepplan client`."""
    parser.add_argument(
        "-m",
        "--model",
        action="append",
        required=True,
        metavar="NAME[=COUNT]",
        help="an instance, or COUNT instances NAME-0, NAME-1, ...; given several times, a mix by the counts",
    )
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:8000",
        help="the server: http, https, grpc or grpcs (default: http://127.0.0.1:8000)",
    )
    add_workload(parser)
    parser.add_argument("--slo", metavar="TIME", help="the objective that goodput counts, for example 100ms")
    parser.add_argument("--timeout", default="30s", metavar="TIME", help="when a request is given up (default: 30s)")
    parser.add_argument(
        "--max-concurrent",
        type=int,
        default=1000,
        metavar="N",
        help="requests under way; what is due beyond is not sent and counts as failed (default: 1000)",
    )
    parser.add_argument(
        "--integers-below",
        type=int,
        default=1000,
        metavar="N",
        help="integer inputs are drawn from 0 to N-1, which must be token ids (default: 1000)",
    )
    parser.add_argument("--token-file", metavar="FILE", help="a file with the bearer token to send")
    parser.add_argument("--ca-file", metavar="FILE", help="PEM certificates to trust instead of the system's")
    parser.add_argument("--output", metavar="FILE", help="write the report as JSON")
    parser.add_argument("--plot", metavar="FILE", help="draw latencies over time (.png, .svg or .pdf)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Sends the workload and prints the report."""
    instances = named_instances("--model", arguments.model)
    objective_ms = math.inf if arguments.slo is None else duration_ms("--slo", arguments.slo)
    duration_ms("--timeout", arguments.timeout)
    check_count("--max-concurrent", arguments.max_concurrent)
    check_count("--integers-below", arguments.integers_below)
    check_output_file("--output", arguments.output)
    check_output_file("--plot", arguments.plot, (".png", ".svg", ".pdf"))
    from deepplan.client.report import Report

    arrivals = workload_arrivals(arguments, len(instances))
    requests = _send(arguments, instances, arrivals)
    report = Report.of(requests, objective_ms=objective_ms, workload=workload_text(arguments, arrivals))
    if arguments.output is not None:
        report.save(arguments.output)
    if arguments.plot is not None:
        from deepplan.plots.load import draw_load

        draw_load(requests, report, arguments.plot)
    print(report.to_text() if arguments.json else report)
    if report.distorted:
        print(
            f"deepplan: warning: requests were sent late by {report.send_lag_p99_ms:.2f} ms (p99), over a tenth of the "
            "p99 latency: this measures the client, too; lower the rate or give it more of a CPU",
            file=sys.stderr,
        )
    return 0


def _send(arguments: argparse.Namespace, instances: list[tuple[str, str]], arrivals: Arrivals) -> Requests:
    from deepplan.cli.progress import progress
    from deepplan.client.connecting import connect, make_targets
    from deepplan.client.open_loop import send_workload
    from deepplan.client.precise_loop import run as run_precisely

    token = _content("--token-file", arguments.token_file)
    transport = connect(
        arguments.url,
        token=None if token is None else token.decode(errors="replace").strip(),
        ca=_content("--ca-file", arguments.ca_file),
    )

    async def send() -> Requests:
        async with transport as server:
            targets = await make_targets(
                server, instances, seed=arguments.seed, integers_below=arguments.integers_below
            )
            what = f"sending {len(arrivals)} requests in {arrivals.duration_ms / 1e3:g} s"
            with progress(what) as report:
                return await send_workload(
                    server,
                    arrivals,
                    targets,
                    timeout_s=duration_ms("--timeout", arguments.timeout) / 1e3,
                    max_concurrent=arguments.max_concurrent,
                    report=report,
                )

    return run_precisely(send())


def _content(flag: str, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise InvalidInputError(f"{flag} {path}: cannot be read ({error.strerror}); name a readable file") from None
