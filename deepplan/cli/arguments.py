"""Flags that several commands share, and the checks that need neither torch nor a device."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deepplan import models
from deepplan.errors import InvalidInputError, UnknownNameError

_INDEX_DIGITS = 9


def add_folder(parser: argparse.ArgumentParser) -> None:
    """-p."""
    parser.add_argument(
        "-p", "--folder", metavar="DIR", help="where plans and profiles lie (default: $DEEPPLAN_HOME, else your cache)"
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """-m and what belongs to it."""
    parser.add_argument(
        "-m", "--model", required=True, metavar="MODEL", help="a zoo name, an exported folder or a .pt2 file"
    )
    parser.add_argument(
        "--dtype",
        metavar="DTYPE",
        help="fp32, tf32, bf16 or fp16 (default: fp32, for llama3_8b bf16; a folder or file: its own)",
    )
    parser.add_argument("-b", "--batch", type=int, metavar="N", help="batch size (default: 1; a folder: its own)")
    parser.add_argument(
        "--weights", metavar="FILE", help="weights of the zoo model: safetensors or a state dict (default: random)"
    )
    parser.add_argument("--trust", action="store_true", help="load a folder or .pt2 file even if it may run code")


def add_devices(parser: argparse.ArgumentParser) -> None:
    """-d and what the host devices cost."""
    parser.add_argument(
        "-d",
        "--devices",
        nargs="+",
        default=["0"],
        metavar="DEVICE",
        help="the target, then the devices that lend it their links: 0 2, or cuda:0 cuda:2, or host:0 (default: 0)",
    )
    parser.add_argument(
        "--link-gbps", type=float, metavar="GBPS", help="what each link of the host devices carries (default: 4)"
    )


def add_policy(parser: argparse.ArgumentParser) -> None:
    """--policy."""
    parser.add_argument(
        "--policy", metavar="POLICY", help="optimal, paper, static, pipeswitch or load_all (default: optimal)"
    )


def add_coding(parser: argparse.ArgumentParser) -> None:
    """--no-coding."""
    parser.add_argument(
        "--no-coding",
        dest="coding",
        action="store_false",
        help="copy weights as they are, even where coding them (without loss) would be faster",
    )


def check_model_arguments(arguments: argparse.Namespace) -> None:
    """What can be said of `add_model`'s flags at once. Raises InvalidInputError."""
    check_count("--batch", arguments.batch)
    model = arguments.model
    check_source(model)
    in_zoo = model in models.names()
    if arguments.batch is not None and Path(model).suffix == ".pt2":
        raise InvalidInputError(f"--batch {arguments.batch}: {model} has its batch size burnt in; leave the flag out")
    if arguments.weights is not None and not in_zoo:
        raise InvalidInputError(f"--weights goes with a zoo model; {model} brings its own")
    if arguments.weights is not None and not os.path.isfile(arguments.weights):
        raise InvalidInputError(f"--weights {arguments.weights}: there is no such file")


def check_source(model: str) -> None:
    """Raises UnknownNameError for what is no zoo name, no exported folder and no .pt2 file."""
    if model not in models.names() and not _is_exported(model):
        raise UnknownNameError(
            f"no model {model!r}: it is no exported folder and no .pt2 file; the zoo has {', '.join(models.names())}"
        )


def _is_exported(model: str) -> bool:
    # os.path answers no, where pathlib raises, for a name that is too long or below a folder that is closed to us.
    return os.path.isfile(model if Path(model).suffix == ".pt2" else os.path.join(model, "graph.json"))


def check_folder(folder: str | None) -> None:
    """Raises InvalidInputError unless plans and profiles can be saved in `folder`, which is made."""
    from deepplan.engine.store import Store

    Store(folder).ensure_writable()


def check_policy(policy: str | None) -> None:
    """Raises UnknownNameError for a policy that does not exist."""
    from deepplan.planning.search import POLICIES

    if policy is not None and policy not in POLICIES:
        raise UnknownNameError(f"no policy is named {policy!r}; there are {', '.join(POLICIES)}")


def check_count(flag: str, value: int | None) -> None:
    """Raises InvalidInputError for a number below 1, or beyond what a document can hold."""
    if value is not None and not 1 <= value < 2**31:
        raise InvalidInputError(f"{flag} {value}: it is a number from 1 to {2**31 - 1}")


def check_output_file(flag: str, path: str | None, suffixes: Sequence[str] = (), stdout: bool = False) -> None:
    """Raises InvalidInputError for a file that could not be written after the work is done.

    With `suffixes`, the file has to have one of them. With `stdout`, it may be "-".
    """
    if path is None or (path == "-" and stdout):
        return
    if path in ("", "-"):
        raise InvalidInputError(f"{flag} {path!r}: name a file")
    if suffixes and Path(path).suffix.lower() not in suffixes:
        raise InvalidInputError(f"{flag} {path}: name a file that ends in {', '.join(suffixes)}")
    if os.path.isdir(path):
        raise InvalidInputError(f"{flag} {path}: that is a folder; name a file in it")
    folder = Path(path).parent
    if not os.path.isdir(folder):
        raise InvalidInputError(f"{flag} {path}: there is no folder {folder}, or it is closed to you; make it first")
    if not os.path.exists(path) or os.path.isfile(path):  # a device is written to as it is
        _probe(f"{flag} {path}", path, folder)


def check_output_folder(flag: str, path: str | None) -> None:
    """Raises InvalidInputError for a folder that could neither be written nor be made."""
    if path is None:
        return
    if not path:
        raise InvalidInputError(f"{flag} {path!r}: name a folder")
    folder = Path(path).absolute()
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    if not os.path.isdir(folder):
        raise InvalidInputError(f"{flag} {path}: {folder} is no folder; name another")
    _probe(f"{flag} {path}", path, folder)


def _probe(what: str, path: str, folder: Path) -> None:
    try:
        with contextlib.suppress(FileNotFoundError):
            os.stat(path)  # which refuses a name that is too long
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidInputError(f"{what}: cannot write in {folder} ({error.strerror}); name another folder") from None


def device_list(names: list[str]) -> list[int | str]:
    """What the engine takes: numbers are indices, the rest are names."""
    return [int(name) if _is_index(name) else name for name in names]


def _is_index(name: str) -> bool:
    """A longer number is left to be refused by name: Python does not even read one of thousands of digits."""
    return name.isdecimal() and len(name) <= _INDEX_DIGITS
