"""How much of each GPU's memory is for the weights of models that are served."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.devices import Devices
from deepplan.errors import InvalidInputError
from deepplan.serving.hosting import HostedModel

_FREE_SHARE = 0.9  # of a device's free memory, for who does not say how much


def weights_budget_bytes(devices: Devices, given_bytes: int | None, hosted: Sequence[HostedModel]) -> int:
    """Of `given_bytes`, else of nine tenths of what nobody else uses of the fullest device, what running the models
    leaves. Raises InvalidInputError where one of them does not fit."""
    working_bytes = _working_bytes(devices, hosted)
    memory_bytes = given_bytes or int(_FREE_SHARE * (working_bytes + min(map(_free_bytes, devices.names))))
    budget_bytes = memory_bytes - working_bytes
    for model in hosted:
        if model.costs.device_bytes > budget_bytes:
            raise InvalidInputError(
                f"{model.served.served_name} takes {model.costs.device_bytes} bytes of a GPU; of {memory_bytes} bytes "
                f"there, running the models takes {working_bytes} besides; give them more GPU memory or leave it out"
            )
    return budget_bytes


def _free_bytes(device: str) -> int:
    """What nobody uses of its memory. The device does not count what models gave back, which is kept for the next."""
    pool = machine.target(device)
    return int(_core.memory_info(device)[0] + pool.reserved_bytes - pool.used_bytes)


def _working_bytes(devices: Devices, hosted: Sequence[HostedModel]) -> int:
    """What running the models took beside their weights, on the first GPU: activations and workspaces, all torch's, and
    the graphs that were captured, which are not."""
    if devices.is_host:
        return 0
    captured = [runs for model in hosted for runs in model.captures if runs.device == devices.target]
    graph_bytes = sum(max(0, runs.device_bytes - runs.torch_bytes) for runs in captured)
    return torch.cuda.memory_reserved(devices.target) + graph_bytes
