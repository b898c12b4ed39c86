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

from provenance import ROOT, provenance

from deepplan.engine.devices import Devices
from deepplan.planning.documents import write_atomically


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and records what it prints; 1 if it is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "executor_overhead", metavar="FILE")
    parser.add_argument("--results", type=Path, default=ROOT / "experiments" / "results", metavar="DIR")
    parser.add_argument("--commit", metavar="HASH", help="of the sources, where they are no git checkout")
    options = parser.parse_args(arguments)
    if not options.program.exists():
        print(f"there is no {options.program}; build it first, see --help", file=sys.stderr)
        return 1
    done = subprocess.run([options.program], capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    origin = provenance(Devices(("host:0",)), options.commit)
    options.results.mkdir(parents=True, exist_ok=True)
    document = {"provenance": origin, **measured}
    write_atomically(options.results / "executor_overhead.json", json.dumps(document, indent=2) + "\n")
    print("\n".join(f"{name}: {value}" for name, value in measured.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
