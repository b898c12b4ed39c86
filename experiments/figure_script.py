"""What scripts that measure and draw one figure have in common: flags, and measuring before drawing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from results_file import ROOT, add_result_arguments, read_results

Draw = Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any], Path], None]  # rows, provenance, picture


def add_figure_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of such a script, those of its results included."""
    parser.add_argument("--figures", type=Path, default=ROOT / "figures", metavar="DIR")
    parser.add_argument("--redraw", action="store_true", help="only draw, from the results that are there")
    add_result_arguments(parser)


def run_figure(name: str, options: argparse.Namespace, measure: Callable[[Path], Sequence[str]], draw: Draw) -> int:
    """Has `measure` write the results of figure `name` unless they are only to be redrawn, and draws them.

    `measure` is given the file and returns what failed. Returns 1 if anything did, or if there is nothing to draw.
    """
    path = options.results / f"{name}.json"
    failed = [] if options.redraw else measure(path)
    if not path.exists():
        print(f"there is no {path}; run without --redraw first", file=sys.stderr)
        return 1
    results = read_results(path)
    picture = options.figures / f"{name}.png"
    draw(results["rows"], results["provenance"], picture)
    for key, value in results.get("summary", {}).items():
        print(f"{key}: {value}")
    print(f"drawn: {picture}")
    return 1 if failed else 0
