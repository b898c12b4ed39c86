"""What a profile or a plan has to be made for, to be of use for a model on some devices."""

from __future__ import annotations

import torch

from deepplan.engine.devices import Devices
from deepplan.engine.machine import machine_name
from deepplan.engine.source import Source
from deepplan.planning.profile import Origin


def origin_of(source: Source, devices: Devices) -> Origin:
    """This model, in this precision and batch size, on these devices of this machine, with the torch that is there."""
    return Origin(
        model=source.name,
        model_digest=source.captured.graph.model_digest,
        dtype=source.dtype,
        batch_size=source.batch_size,
        machine=machine_name(devices),
        devices=devices.names,
        torch=str(torch.__version__),
    )
