"""Serve models from host memory over HTTP and gRPC (Open Inference Protocol v2).

What is served is said by flags, by a deployment file (docs/serving.md) or by both: flags win. Until SIGTERM or SIGINT;
what is under way then is finished. The log, a JSON object a line, goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deepplan.cli.arguments import add_folder, check_folder
from deepplan.cli.serve_settings import SETTINGS, deployment_of, server_settings_of
from deepplan.cli.serve_values import model
from deepplan.errors import InvalidInputError

_LIBRARIES = ("aiohttp", "grpc", "google.protobuf", "prometheus_client", "yaml")
_COUNTED = re.compile(r"(.+)=([0-9]{1,9})", re.DOTALL)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of `deepplan serve`; those of settings are absent from the result unless they are given."""
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="a deployment file (YAML)")
    parser.add_argument(
        "-m",
        "--model",
        action="append",
        metavar="MODEL[=COUNT]",
        help="a zoo name, an exported folder or a .pt2 file; with a count, so many independent instances MODEL-0, ...\n"
        "may be given several times; the models of CONFIG are not served then",
    )
    for key, setting in SETTINGS.items():
        flag, about = _flag(key), setting.about
        if setting.is_switch:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=about)
        else:
            parser.add_argument(flag, default=argparse.SUPPRESS, metavar=setting.metavar, help=about)
    parser.add_argument(
        "--no-grpc", dest="grpc_port", action="store_const", const=None, default=argparse.SUPPRESS, help="HTTP only"
    )
    add_folder(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serves until a signal comes."""
    _check_installed()
    given = _from_file(arguments.config) | _from_flags(arguments)
    if arguments.config is None and arguments.model is None:
        raise InvalidInputError("there is nothing to serve; name a deployment file, or models by --model")
    deployment, settings = deployment_of(given), server_settings_of(given)
    check_folder(arguments.folder)
    from deepplan.server.listeners import tls_context
    from deepplan.server.log_lines import write_log
    from deepplan.server.process import serve_until_signal

    tls_context(settings)
    from deepplan.serving.process_engine import ProcessEngine

    folder = None if arguments.folder is None else Path(arguments.folder)
    write_log(sys.stderr)

    async def serve() -> None:
        await serve_until_signal(ProcessEngine(deployment, folder=folder), settings)

    asyncio.run(serve())
    return 0


def _check_installed() -> None:
    for library in _LIBRARIES:
        if find_spec(library.partition(".")[0]) is None or find_spec(library) is None:
            raise InvalidInputError(f"{library} is not installed; install it by pip install 'deepplan[serve]'")


def _from_file(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    from deepplan.cli.deployment_file import read_deployment_file

    return read_deployment_file(path)


def _from_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    flags = {key: value for key, value in vars(arguments).items() if key in SETTINGS}
    given = {key: SETTINGS[key].parse(_flag(key), value, "") for key, value in flags.items()}
    if arguments.model is not None:
        given["models"] = [_named_model(text) for text in arguments.model]
    return given


def _named_model(text: str) -> dict[str, Any]:
    counted = _COUNTED.fullmatch(text)
    fields = {"source": text} if counted is None else {"source": counted[1], "instances": int(counted[2])}
    return model(f"--model {text}", fields, "")


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"
