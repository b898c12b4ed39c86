"""The flags that describe a workload, and the arrivals that they ask for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deepplan.cli.quantities import duration_ms
from deepplan.errors import InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    from deepplan.serving.arrivals import Arrivals

# Which of the flags mean something for which workload: those it needs, and those it can do without.
_FLAGS = {
    "simple": (("rate",), ("duration",)),
    "bursty": (("rates",), ("duration",)),
    "gamma": (("rate", "cv"), ("duration",)),
    "azure": (("rate", "trace"), ("duration", "first_minute")),
    "recorded": (("trace",), ()),
}
_ALL = ("rate", "rates", "cv", "trace", "duration", "first_minute")
_DEFAULT_DURATION = "60s"
_MINUTE_MS = 60_000.0


def add_workload(parser: argparse.ArgumentParser) -> None:
    """--workload and what belongs to it."""
    parser.add_argument(
        "--workload",
        default="simple",
        metavar="NAME",
        help="simple: Poisson arrivals at --rate (the default)\n"
        "bursty: Poisson arrivals at each of --rates, one after the other\n"
        "gamma: gaps at --rate that are gamma-distributed with --cv\n"
        "azure: the Azure Functions trace of 2019 in --trace, scaled to --rate\n"
        "recorded: the arrivals in --trace, one time in ms a line, or a time and an instance",
    )
    parser.add_argument("--rate", type=float, metavar="R", help="requests/s over all instances")
    parser.add_argument("--rates", type=float, nargs="+", metavar="R", help="requests/s, step by step (bursty)")
    parser.add_argument("--cv", type=float, metavar="CV", help="coefficient of variation of the gaps (gamma)")
    parser.add_argument("--trace", metavar="FILE", help="the file of azure or recorded arrivals")
    parser.add_argument("--first-minute", type=int, metavar="N", help="where in the azure trace to begin (default: 0)")
    parser.add_argument(
        "--duration", metavar="TIME", help="for example 90s or 3h (default: 60s; azure: all there is, in whole minutes)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same arrivals")


def workload_arrivals(arguments: argparse.Namespace, instance_count: int) -> Arrivals:
    """The arrivals that the flags of `add_workload` ask for. Raises InvalidInputError."""
    from deepplan.serving.arrivals import bursty, gamma, poisson
    from deepplan.serving.azure_trace import azure
    from deepplan.serving.recorded_trace import recorded

    name = arguments.workload
    _check_flags(arguments)
    if name == "recorded":
        return recorded(arguments.trace, instance_count=instance_count, seed=arguments.seed)
    if name == "azure":
        return azure(
            arguments.trace,
            total_rate_per_s=arguments.rate,
            instance_count=instance_count,
            first_minute=arguments.first_minute or 0,
            minutes=_minutes(arguments.duration),
            seed=arguments.seed,
        )
    duration_s = duration_ms("--duration", arguments.duration or _DEFAULT_DURATION) / 1e3
    if name == "bursty":
        step_s = duration_s / len(arguments.rates)
        return bursty(arguments.rates, instance_count=instance_count, step_s=step_s, seed=arguments.seed)
    if name == "gamma":
        return gamma(
            arguments.rate,
            cv=arguments.cv,
            instance_count=instance_count,
            duration_s=duration_s,
            seed=arguments.seed,
        )
    return poisson(arguments.rate, instance_count=instance_count, duration_s=duration_s, seed=arguments.seed)


def workload_text(arguments: argparse.Namespace, arrivals: Arrivals) -> str:
    """The workload in words, enough of them to make it again."""
    given = (f"{_flag(name)[2:]} {_shown(getattr(arguments, name))}" for name in _ALL if _is_given(arguments, name))
    requests = f"{len(arrivals)} requests of {arrivals.instance_count} instances"
    return ", ".join([arguments.workload, *given, f"seed {arguments.seed}", requests])


def _check_flags(arguments: argparse.Namespace) -> None:
    name = arguments.workload
    if name not in _FLAGS:
        raise UnknownNameError(f"no workload is named {name!r}; there are {', '.join(_FLAGS)}")
    needed, possible = _FLAGS[name]
    for flag in needed:
        if not _is_given(arguments, flag):
            raise InvalidInputError(f"--workload {name} needs {_flag(flag)}")
    for flag in _ALL:
        if flag not in needed + possible and _is_given(arguments, flag):
            raise InvalidInputError(f"{_flag(flag)} means nothing with --workload {name}")


def _minutes(duration: str | None) -> int | None:
    if duration is None:
        return None
    minutes = duration_ms("--duration", duration) / _MINUTE_MS
    if not minutes.is_integer():
        raise InvalidInputError(f"--duration {duration}: an azure trace has whole minutes")
    return int(minutes)


def _is_given(arguments: argparse.Namespace, name: str) -> bool:
    return getattr(arguments, name) is not None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
