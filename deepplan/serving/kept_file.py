"""Memory for host copies that a server keeps while the processes of its engine come and go. Brings no torch."""

from __future__ import annotations

import os
from typing import Any


class KeptFile:
    """A file without a name, in memory, and what engines said of the models that they left in it."""

    def __init__(self) -> None:
        # Linux's own; what engines pin lies in it (csrc/core/kept_memory.h).
        self.descriptor: int = os.memfd_create("deepplan-weights", os.MFD_CLOEXEC)
        self.models: dict[int, Any] = {}  # by number in the deployment

    def close(self) -> None:
        """Gives the memory back, as soon as no process uses it any more. Closing twice is harmless."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1
        self.models.clear()
