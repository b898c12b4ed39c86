"""Served calls as launches of graphs: captured once for each model, GPU and batch size, for all instances."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch

from deepplan import _core
from deepplan.engine.capturing import COLD, WARM, Captures
from deepplan.engine.devices import Devices

_log = logging.getLogger(__name__)

Inputs = Mapping[int, Sequence[torch.Tensor]]  # of one call, by batch size
# By instance and GPU: pairs of a batch size and its session, ascending.
Sessions: TypeAlias = "tuple[tuple[tuple[tuple[int, _core.Session], ...], ...], ...]"


def capture_runs(
    sessions: Sessions, inputs: Inputs, devices: Sequence[Devices], dtype: str | None
) -> tuple[Captures, ...]:
    """Captures what can be captured, of one instance for all; they share it, as their weights may lie anywhere.

    The rest is launched operator by operator: host devices, models whose runs no graph holds or whose graphs cannot
    move. What is returned keeps the memory that captured runs work in.
    """
    kept = []
    for gpu, of_gpu in enumerate(devices):
        for index, (size, session) in enumerate(() if of_gpu.is_host else sessions[0][gpu]):
            captures = Captures(session, inputs[size], of_gpu.target, dtype)
            captures.add(COLD, WARM)
            reason = captures.refusal or captures.staying
            if reason is not None:
                _log.info("calls of %d on %s are launched operator by operator: %s", size, of_gpu.target, reason)
                captures.forget()
                continue
            session.leave_home()
            for by_gpu in sessions[1:]:
                by_gpu[gpu][index][1].share_captured(session)
            kept.append(captures)
    return tuple(kept)
