"""Figure 10: cold starts of eight models under five methods (DeepPlan, EuroSys'23, section 5.2).

    python experiments/fig10.py --devices 0 1 2 3     # profiles, measures, draws
    python experiments/fig10.py --redraw              # draws from the committed results, without a GPU

Results are written after every model; those of models that are not measured again are kept if they come from the same
machine, versions and commit.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MODELS = (
    *("resnet50", "resnet101", "bert_base", "bert_large"),
    *("roberta_base", "roberta_large", "gpt2", "gpt2_medium"),
)
DTYPE = "fp32"
Build = Callable[[str], Any]  # from a name to a module that carries its `zoo_name` and `example_inputs`


def main(arguments: Sequence[str] | None = None, build: Build | None = None) -> int:
    """Runs the experiment; `build` replaces the zoo. Returns 1 if a model could not be measured."""
    options = _parser().parse_args(arguments)
    path = Path(options.results) / "fig10.json"
    failed = [] if options.redraw else _measure(options, path, build)
    if not path.exists():
        print(f"there is no {path}; run without --redraw first", file=sys.stderr)
        return 1
    from fig10_drawing import draw

    document = json.loads(path.read_text())
    picture = Path(options.figures) / "fig10.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw(document["rows"], document["provenance"], picture)
    for name, value in document["summary"].items():
        print(f"{name}: {value}")
    print(f"drawn: {picture}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME")
    parser.add_argument("--devices", nargs="+", default=["0"], metavar="DEVICE", help="the target first; 0 1 or host:0")
    parser.add_argument("--repeat", type=int, default=50, metavar="N", help="cold starts of each method (default 50)")
    parser.add_argument("--results", default=ROOT / "experiments" / "results", metavar="DIR")
    parser.add_argument("--profiles", default=ROOT / "deepplan" / "profiles", metavar="DIR")
    parser.add_argument("--figures", default=ROOT / "figures", metavar="DIR")
    parser.add_argument("--commit", metavar="HASH", help="of the sources, where they are no git checkout")
    parser.add_argument("--redraw", action="store_true", help="only draw, from the results that are there")
    return parser


def _measure(options: argparse.Namespace, path: Path, build: Build | None) -> list[str]:
    """Measures each model and writes the results after each; returns the names of those that failed."""
    from deepplan import models
    from deepplan.engine.devices import resolve_devices
    from provenance import provenance, same_setup

    devices = resolve_devices(options.devices)
    origin = provenance(devices, options.commit)
    kept = json.loads(path.read_text()) if path.exists() else None
    rows = list(kept["rows"]) if kept and same_setup(kept["provenance"], origin) else []
    failed = []
    for name in options.models:
        try:
            measured = _measure_model((build or models.build)(name), devices, options, origin["machine"])
        except Exception:  # hours of a rented machine are not lost to one model
            traceback.print_exc()
            failed.append(name)
            continue
        rows = [row for row in rows if row["model"] != name] + measured
        _write(path, rows, origin)
    return failed


def _measure_model(module: Any, devices: Any, options: argparse.Namespace, machine: str) -> list[dict[str, Any]]:
    from measure_methods import eager_outputs, measure_methods, source_of

    started = time.perf_counter()
    source = source_of(module, DTYPE)
    expected = eager_outputs(module, source, devices)
    print(f"{source.name}: exported after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    profile = _profile(source, devices)
    print(f"{source.name}: profiled after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    folder = Path(options.profiles) / machine
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in measure_methods(source, profile, devices, expected, options.repeat):
        print(_line(row), flush=True)
        rows.append(row)
    profile.save(folder / f"{source.name}-{DTYPE}-b{source.batch_size}.json")
    return rows


def _profile(source: Any, devices: Any) -> Any:
    from deepplan.engine.profiler import profile_source

    return profile_source(source, devices, source.tensor_inputs(), lambda share: None)


def _line(row: dict[str, Any]) -> str:
    from methods import method_of

    return (
        f"{row['model']:14} {method_of(row).title:10} {row['median_ms']:9.3f} ms "
        f"({row['min_ms']:.3f} to {row['max_ms']:.3f}), predicted {row['predicted_ms']:.3f}, "
        f"warm {row['warm_ms']:.3f}, floor {row['floor_ms']:.3f}, stalled {row['stall_ms']:.3f}, "
        f"loaded {row['loaded_bytes'] / 1e6:.1f} MB, in place {row['direct_host_access_bytes'] / 1e6:.1f} MB"
    )


def _write(path: Path, rows: list[dict[str, Any]], origin: dict[str, Any]) -> None:
    from deepplan.planning.documents import write_atomically
    from summary import summarise

    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"provenance": origin, "summary": summarise(rows), "rows": rows}
    write_atomically(path, json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
