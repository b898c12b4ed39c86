"""Files of results: JSON with the provenance first."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from deepplan.planning.documents import write_atomically

ROOT = Path(__file__).resolve().parent.parent  # of the sources


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that scripts which measure have in common."""
    results = ROOT / "experiments" / "results"
    parser.add_argument("--results", type=Path, default=results, metavar="DIR", help=f"(default {results})")
    parser.add_argument("--commit", metavar="HASH", help="of the sources, where they are no git checkout")


def write_results(path: Path, provenance: dict[str, Any], **content: Any) -> None:
    """Writes the file, and the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"provenance": provenance, **content}, indent=2) + "\n")


def read_results(path: Path) -> dict[str, Any]:
    """What `write_results` wrote."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content
