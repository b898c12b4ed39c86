"""Pinned memory that outlives the engine, and the models in it, of which whoever starts engines keeps a list."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deepplan import _core
from deepplan.engine.devices import Devices
from deepplan.errors import DeepPlanError
from deepplan.serving.deployment import ServedSource
from deepplan.serving.hosting import HostedModel
from deepplan.serving.kept_models import KeptModel, adopt_model

logger = logging.getLogger("deepplan.serving")


class KeptMemory:
    """Memory in `file` (a descriptor from `os.memfd_create`), and what earlier engines left in it.

    `models` are what earlier engines gave to `keep`, by their number in the deployment: data that JSON can hold.
    From when this is made, the process's pinned memory lies in the file.
    """

    def __init__(self, file: int, models: Mapping[int, Any], keep: Callable[[int, Any], None]) -> None:
        self._memory = _core.KeptMemory(file)
        self._models = models
        self._keep = keep
        _core.use_kept_memory(self._memory)

    def adopt(self, served: Sequence[ServedSource], devices: Sequence[Devices]) -> dict[int, HostedModel]:
        """The models of `served`, by number, that can be had from the memory; what else lies in it is given back."""
        adopted = {}
        for number, data in self._models.items():
            try:
                kept = KeptModel.from_json(data)
                if number < len(served) and kept.served == served[number]:
                    adopted[number] = adopt_model(kept, devices)
            except DeepPlanError as error:  # it is registered anew
                logger.warning("a kept model cannot be used: %s", error)
        self._memory.release_rest()
        return adopted

    def add(self, number: int, hosted: HostedModel) -> None:
        """A model was registered: the next engine is to find it."""
        self._keep(number, KeptModel.of(hosted).to_json())
