"""Rows of several runs in one table: each row names its origin, and the file's provenance describes every origin.

A run is known by its machine, commit and date, to the minute. Numbers that are divided by one another must be of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Origin = tuple[str, ...]

ORIGIN = ("machine", "commit", "date")  # fields of a row as of a provenance


def origin_of(row: Row) -> Origin:
    """Of a row, or of what a provenance describes."""
    return tuple(row[field] for field in ORIGIN)


def mark(row: Row, provenance: Row) -> dict[str, Any]:
    """The row, with its origin."""
    return {**row, **dict(zip(ORIGIN, origin_of(provenance)))}


def with_setups(provenance: Row, rows: Iterable[Row], known: Sequence[Row] = ()) -> dict[str, Any]:
    """`provenance` of the latest run, with `setups`: it and those of `known` that any of `rows` is from."""
    wanted = {origin_of(row) for row in rows}
    setups = {origin_of(setup): dict(setup) for setup in (*known, provenance)}
    return {**provenance, "setups": [setup for origin, setup in setups.items() if origin in wanted]}
