"""Arrivals that the flags ask for are those of deepplan.serving."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from deepplan.cli.workload import add_workload, workload_arrivals, workload_text
from deepplan.errors import InvalidInputError
from deepplan.serving.arrivals import Arrivals, bursty, gamma, poisson
from deepplan.serving.azure_trace import azure


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_workload(parser)
    return parser.parse_args(arguments)


def arrivals(*arguments: str) -> Arrivals:
    return workload_arrivals(parse(*arguments), 5)


def check_same(got: Arrivals, expected: Arrivals) -> None:
    assert (got.times_ms == expected.times_ms).all() and (got.instances == expected.instances).all()
    assert (got.instance_count, got.duration_ms) == (expected.instance_count, expected.duration_ms)


def test_synthetic_workloads() -> None:
    check_same(
        arrivals("--rate", "50", "--duration", "2s", "--seed", "3"),
        poisson(50, instance_count=5, duration_s=2, seed=3),
    )
    check_same(arrivals("--rate", "5"), poisson(5, instance_count=5, duration_s=60))
    check_same(
        arrivals("--workload", "bursty", "--rates", "10", "20", "--duration", "4s"),
        bursty([10, 20], instance_count=5, step_s=2),
    )
    check_same(
        arrivals("--workload", "gamma", "--rate", "50", "--cv", "4", "--duration", "2s"),
        gamma(50, cv=4, instance_count=5, duration_s=2),
    )


def test_recorded_workloads(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("1,4\n2.5,0\n")
    got = arrivals("--workload", "recorded", "--trace", str(trace))
    assert (got.times_ms.tolist(), got.instances.tolist(), got.instance_count) == ([1.0, 2.5], [4, 0], 5)
    trace.write_text("HashOwner,HashApp,HashFunction,Trigger,1,2,3\na,b,c,http,1,5,6\nd,e,f,http,2,3,4\n")
    flags = ["--workload", "azure", "--trace", str(trace), "--rate", "3"]
    check_same(arrivals(*flags), azure(trace, total_rate_per_s=3, instance_count=5))
    check_same(
        arrivals(*flags, "--first-minute", "1", "--duration", "1min"),
        azure(trace, total_rate_per_s=3, instance_count=5, first_minute=1, minutes=1),
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "needs --rate"),
        (["--workload", "calm", "--rate", "1"], "bursty, gamma"),
        (["--workload", "bursty", "--rate", "1"], "--rates"),
        (["--workload", "gamma", "--rate", "1"], "needs --cv"),
        (["--workload", "azure", "--rate", "1"], "needs --trace"),
        (["--workload", "recorded"], "needs --trace"),
        (["--workload", "recorded", "--trace", "x", "--duration", "1s"], "--duration means nothing"),
        (["--rate", "1", "--cv", "1"], "--cv means nothing"),
        (["--rate", "1", "--first-minute", "1"], "--first-minute means nothing"),
        (["--rate", "0"], "rate_per_s"),
        (["--rate", "nan"], "rate_per_s"),
        (["--rate", "1", "--duration", "60"], "--duration 60"),
        (["--rate", "1e9", "--duration", "300d"], "number of arrivals"),
        (["--rate", "1", "--seed", "-1"], "seed"),
        (["--workload", "azure", "--rate", "1", "--trace", "/nonexistent"], "/nonexistent"),
        (["--workload", "azure", "--rate", "1", "--trace", "x", "--duration", "90s"], "whole minutes"),
    ],
)
def test_misuse_is_refused_by_name(arguments: list[str], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        arrivals(*arguments)


def test_the_workload_in_words() -> None:
    arguments = parse("--workload", "bursty", "--rates", "10", "20.5", "--duration", "4s", "--seed", "7")
    nothing = Arrivals(np.empty(0), np.empty(0, np.int32), 5, 4e3)
    assert workload_text(arguments, nothing) == "bursty, rates 10 20.5, duration 4s, seed 7, 0 requests of 5 instances"
