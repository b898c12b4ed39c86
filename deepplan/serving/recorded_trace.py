"""Arrivals as they were recorded, in a text file."""

from __future__ import annotations

import math
import os
import re
from array import array

import numpy as np

from deepplan.errors import InvalidInputError
from deepplan.planning.records import Count, coerce
from deepplan.serving.arrivals import MAX_DURATION_MS, Arrivals, generator, of_any_instance
from deepplan.serving.trace_lines import bad_line, shown, trace_lines

_LINE = re.compile(rb"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*(?:,\s*(\d{1,10})\s*)?")


def recorded(path: str | os.PathLike[str], *, instance_count: int | None = None, seed: int = 0) -> Arrivals:
    """The arrivals of a file with one a line: its time in ms and, in all lines or none, a comma and an instance.

    Without instances they are drawn uniformly from `instance_count`, which is needed then; with them it defaults to
    what the file uses. The recording ends with the millisecond of its last arrival.
    Raises InvalidInputError naming the file and the line.
    """
    random = generator(seed)
    count = None if instance_count is None else coerce(Count, instance_count, "instance_count")
    times_ms, instances = array("d"), array("i")
    for number, line in trace_lines(path):
        time_ms, instance = _parse(path, number, line)
        if times_ms and time_ms < times_ms[-1]:
            raise bad_line(path, number, f"has time {time_ms:g}, the one before {times_ms[-1]:g}; sort them by time")
        if times_ms and (instance is not None) != bool(instances):
            raise bad_line(path, number, f"is {shown(line)}; give all lines an instance or none")
        if count is not None and instance is not None and instance >= count:
            raise bad_line(path, number, f"has instance {instance}; raise instance_count={count} or leave it out")
        times_ms.append(time_ms)
        if instance is not None:
            instances.append(instance)
    if not times_ms:
        raise InvalidInputError(f"{os.fspath(path)} is empty; name a file with one arrival a line")
    duration_ms = math.floor(times_ms[-1]) + 1.0
    if instances:
        return Arrivals(np.array(times_ms), np.array(instances, np.int32), count or max(instances) + 1, duration_ms)
    if count is None:
        raise InvalidInputError(f"{os.fspath(path)} names no instances; pass instance_count to have them drawn")
    return of_any_instance(np.array(times_ms), random, count, duration_ms)


def _parse(path: str | os.PathLike[str], number: int, line: bytes) -> tuple[float, int | None]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise bad_line(path, number, f"is {shown(line)}; it must be a time in ms, or a time and an instance: 12.5,3")
    time_ms, instance = float(match[1]), None if match[2] is None else int(match[2])
    if time_ms >= MAX_DURATION_MS:
        raise bad_line(path, number, f"has time {time_ms:g}, over a year; count ms from the recording's start")
    if instance is not None and instance >= 2**31:
        raise bad_line(path, number, f"has instance {instance}; number them from 0 and below 2**31")
    return time_ms, instance
