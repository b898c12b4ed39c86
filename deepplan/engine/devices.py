"""Which devices a run uses: GPUs where there are any, else the host devices that stand in for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from deepplan import _core
from deepplan.errors import DeviceError

_INDEX_DIGITS = 9
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class Devices:
    """A target device and its helpers, by name ("cuda:0", "host:2"), target first; all of one backend."""

    names: tuple[str, ...]

    @property
    def backend(self) -> str:
        """ "cuda" or "host"."""
        return self.names[0].split(":")[0]

    @property
    def is_host(self) -> bool:
        """Whether ordinary memory stands in for device memory."""
        return self.backend == "host"

    @property
    def target(self) -> str:
        """The device that runs the model."""
        return self.names[0]

    @property
    def torch_target(self) -> str:
        """The target, by torch's name."""
        return "cpu" if self.is_host else self.target


def default_backend() -> str:
    """ "cuda" where a GPU can be used, "host" otherwise."""
    return "cuda" if _usable("cuda") > 0 else "host"


def resolve_devices(devices: int | str | Sequence[int | str] | Devices) -> Devices:
    """The devices meant by indices (of the default backend) or names ("cuda:1", "host:0"), target first.

    Raises DeviceError for a device that is not there or named twice, for a mixture of backends, and for none at all.
    """
    if isinstance(devices, Devices):
        return devices
    if isinstance(devices, (int, str)):
        devices = (devices,)
    if not isinstance(devices, Iterable):
        raise DeviceError(f"devices={devices!r} is no device and no list of them; for example devices=[0]")
    names = tuple(_name(device) for device in devices)
    if not names:
        raise DeviceError("no device was given; name at least the target, for example devices=[0]")
    if len(set(names)) != len(names):
        raise DeviceError(f"a device is named twice in {', '.join(names)}; each link can be used once")
    if len({name.split(":")[0] for name in names}) > 1:
        raise DeviceError(f"{', '.join(names)} are of different backends; take GPUs or host devices, not both")
    return Devices(names)


def _name(device: int | str) -> str:
    backend, _, number = str(device).rpartition(":")
    backend = backend or default_backend()
    # Python does not read numbers of thousands of digits.
    if backend not in ("cuda", "host") or not number.isdecimal() or len(number) > _INDEX_DIGITS:
        shown = device if len(str(device)) <= _SHOWN_CHARACTERS else f"{str(device)[:_SHOWN_CHARACTERS]}..."
        raise DeviceError(f"{shown!r} is no device; say an index (0, 1, ...), cuda:INDEX or host:INDEX")
    count = _usable(backend)
    if int(number) >= count:
        there_are = f"there are {count}: {backend}:0 to {backend}:{count - 1}" if count else "this torch has no CUDA"
        reason = _core.unavailable_reason(backend) or there_are
        raise DeviceError(f"device {backend}:{int(number)} is not there ({reason})")
    return f"{backend}:{int(number)}"


def _usable(backend: str) -> int:
    """How many devices there are that torch can use too."""
    torch_lacks_it = backend == "cuda" and torch.version.cuda is None
    return 0 if torch_lacks_it else _core.device_count(backend)
