"""What the executor adds to an operator, against a bare loop of the same boxed calls (executor_overhead.cpp).

cmake -B build -DDEEPPLAN_BUILD_TESTS=ON && cmake --build build --target executor_overhead
python experiments/executor_overhead.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deepplan.engine.devices import Devices
from provenance import provenance
from results_file import ROOT, add_result_arguments, write_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and records what it prints; 1 if it is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "executor_overhead", metavar="FILE")
    add_result_arguments(parser)
    options = parser.parse_args(arguments)
    if not options.program.exists():
        print(f"there is no {options.program}; build it first, see --help", file=sys.stderr)
        return 1
    done = subprocess.run([options.program], capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    origin = provenance(Devices(("host:0",)), options.commit)
    write_results(options.results / "executor_overhead.json", origin, **measured)
    print("\n".join(f"{name}: {value}" for name, value in measured.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
