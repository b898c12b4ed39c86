"""Finds the torch to build against: the one that will be used, not the one that happens to be visible.

pip builds in an isolated environment that hides what is installed, by way of PYTHONPATH and PYTHONNOUSERSITE. A fresh
interpreter that ignores those variables sees past it (`python -E`; `-I` would hide a torch in the user's site-packages
too). Standard library only, and torch is never imported: CMake runs this file as a script, before anything is built.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

OLDEST = (2, 11)


class UnusableTorchError(Exception):
    """The torch found cannot be built against; the message says why, and what to do."""


@dataclass(frozen=True)
class Torch:
    """A torch package: where it lies, its full version ("2.13.0+cpu"), the CUDA it was built with ("13.0" or "")."""

    directory: Path
    version: str
    cuda: str


def target_directory() -> Path | None:
    """The torch package of the environment that deepplan will run in, None where it has none."""
    locate = "import importlib.util as u; s = u.find_spec('torch'); print(s.origin or '' if s else '')"
    with tempfile.TemporaryDirectory() as empty:  # `-c` puts the current folder on the path
        command = [sys.executable, "-E", "-c", locate]
        answer = subprocess.run(command, cwd=empty, capture_output=True, text=True, check=False)
    origin = answer.stdout.strip()
    return Path(origin).parent if origin else None


def visible_directory() -> Path | None:
    """The torch package that this very process would import, None where there is none."""
    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).parent if spec and spec.origin else None


def read(directory: Path) -> Torch:
    """Reads the package's own record of its version. Raises UnusableTorchError if it is too old or has no headers."""
    values = {}
    try:
        tree = ast.parse((directory / "version.py").read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableTorchError(f"deepplan: {directory} is not a torch package ({error})") from error
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and isinstance(getattr(node, "value", None), ast.Constant):
            values[target.id] = node.value.value
    version = str(values.get("__version__", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise UnusableTorchError(
            f"deepplan: torch {version} at {directory} is too old: deepplan needs {oldest} or newer and does not "
            f"replace an installed torch by itself. Update it first: pip install --upgrade 'torch>={oldest}'"
        )
    if not (directory / "include" / "ATen" / "ATen.h").is_file():
        raise UnusableTorchError(
            f"deepplan: torch {version} at {directory} comes without its C++ headers. Install the torch of pytorch.org "
            "or of a package index instead"
        )
    return Torch(directory, version, str(values.get("cuda") or ""))


def find() -> Torch | None:
    """The torch to build against, None if there is none. Raises UnusableTorchError."""
    directory = target_directory() or visible_directory()
    return read(directory) if directory else None


def main() -> int:
    """Prints directory, version and CUDA version as one CMake list; the argument, if not empty, is the directory."""
    given = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        torch = read(Path(given)) if given else find()
    except UnusableTorchError as error:
        print(error, file=sys.stderr)
        return 1
    if torch is None:
        print(f"deepplan: {sys.executable} has no torch. Get one first: pip install torch", file=sys.stderr)
        return 1
    print(os.fspath(torch.directory), torch.version, torch.cuda or "none", sep=";")
    return 0


if __name__ == "__main__":
    sys.exit(main())
