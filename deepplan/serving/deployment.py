"""What a server serves, on which GPUs, and what it promises.

    deployment = Deployment(models=(ServedSource("bert_base", instances=3),), devices=("0", "1"), objective_ms=100)
    deployment.instances()      # its models' names: bert_base-0, bert_base-1, bert_base-2

Needs neither torch nor the compiled core.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from deepplan.errors import InvalidInputError
from deepplan.planning.records import Count, PositiveBytes, Range, Record, refusal

EngineName = Literal["deepplan", "pipeline", "demand"]
DtypeName = Literal["fp32", "tf32", "bf16", "fp16"]  # those of deepplan.engine.precision, which needs torch
ObjectiveMs = Annotated[float, Range(1e-3, 1e9)]

_MAX_INSTANCES = 100_000  # of all models together; each has a name and sessions of its own


@dataclass(frozen=True)
class ServedSource(Record):
    """A model and how many independent instances of it are served, each with a host copy of its own.

    `source` is a zoo name or the folder of an exported model. Without `instances` there is one, named as the model is;
    with them they are numbered from 0. `dtype` None: the zoo's default, or the folder's own. `batch_sizes` are those
    that requests are run together in; a folder has but its own. `pinned` instances stay where they were brought first.
    """

    source: str
    instances: Count | None = None
    name: str | None = None
    dtype: DtypeName | None = None
    batch_sizes: tuple[Count, ...] = (1,)
    pinned: bool = False
    weights: str | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = self.batch_sizes
        if not sizes or sizes[0] != 1 or any(a >= b for a, b in pairwise(sizes)):
            raise refusal("batch_sizes", list(sizes), "ascending, from 1")
        if not self.served_name or "/" in self.served_name or not self.served_name.isprintable():
            raise refusal("name", self.served_name, "a printable name without '/', which ends it in a URL")

    @property
    def served_name(self) -> str:
        """`name`, else that of the zoo model or of the folder."""
        return self.name if self.name is not None else os.path.basename(Path(self.source).absolute())

    def instance_names(self) -> tuple[str, ...]:
        """What clients call the instances."""
        if self.instances is None:
            return (self.served_name,)
        return tuple(f"{self.served_name}-{index}" for index in range(self.instances))


@dataclass(frozen=True)
class Deployment(Record):
    """`devices` are GPUs by index ("0") or devices by name ("cuda:0", "host:1"); each of them runs models.

    `gpu_memory_bytes` is what models may take of each one's memory, with what running them needs besides; None: nine
    tenths of what is free there. A request that is predicted to end more than `objective_ms` after it came is refused.
    `engine` says how a model is brought in, `pt` over the links of how many GPUs. `coding`: see `deepplan.plan`.
    """

    models: tuple[ServedSource, ...]
    devices: tuple[str, ...] = ("0",)
    gpu_memory_bytes: PositiveBytes | None = None
    objective_ms: ObjectiveMs | None = None
    engine: EngineName = "deepplan"
    pt: Count = 1
    coding: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.models:
            raise InvalidInputError("there is no model to serve; name at least one")
        if not self.devices:
            raise InvalidInputError("there is no device to serve from; name at least one")
        if len(self.devices) % self.pt != 0:
            raise InvalidInputError(
                f"pt={self.pt}: {len(self.devices)} devices cannot be parted into groups of {self.pt}; "
                "take a number that divides them"
            )
        count = sum(model.instances or 1 for model in self.models)
        if count > _MAX_INSTANCES:
            raise InvalidInputError(f"{count} instances are more than one server takes; it takes {_MAX_INSTANCES}")
        twice = [name for name, count in Counter(self.instances()).items() if count > 1]
        if twice:
            raise InvalidInputError(f"two models are named {twice[0]}; give one of them another name")

    def instances(self) -> tuple[str, ...]:
        """The names of all instances, in the order in which the scheduler counts them."""
        return tuple(name for model in self.models for name in model.instance_names())

    @property
    def scheduler_objective_ms(self) -> float:
        """Infinity where nothing is refused."""
        return math.inf if self.objective_ms is None else self.objective_ms
