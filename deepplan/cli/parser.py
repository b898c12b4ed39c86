"""The parser of the whole command line: which commands there are, and how a bad argument is refused."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NoReturn

from deepplan import __version__
from deepplan.cli import benchmark, client, doctor, export, plan, profile, serve
from deepplan.errors import InvalidInputError

Command = Callable[[argparse.Namespace], int]
_COMMANDS = {
    "plan": plan,
    "profile": profile,
    "benchmark": benchmark,
    "export": export,
    "serve": serve,
    "client": client,
    "doctor": doctor,
}


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing the usage and exiting, so that all misuse ends the same way."""

    def error(self, message: str) -> NoReturn:
        raise InvalidInputError(f"{message}; see {self.prog} --help")


def parse(arguments: Sequence[str] | None = None) -> tuple[Command, argparse.Namespace]:
    """The command that was asked for, and its arguments. Raises InvalidInputError; --help and --version exit."""
    parser = _Parser(
        prog="deepplan", description="Serve PyTorch models from host memory at the latency of resident ones."
    )
    parser.add_argument("--version", action="version", version=f"deepplan {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, module in _COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        described = commands.add_parser(
            name, help=summary, description=summary, allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter
        )
        module.add_arguments(described)
    parsed = parser.parse_args(arguments)
    return _COMMANDS[parsed.command].run, parsed
