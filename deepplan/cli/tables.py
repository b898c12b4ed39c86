"""Measured profiles and other results as text for a terminal."""

from __future__ import annotations

from deepplan.planning.profile import Profile
from deepplan.planning.table import text_table

_COLUMNS = ("", "layer", "type", "MB", "load ms", "execute ms", "DHA ms")


def profile_table(profile: Profile) -> str:
    """What it was measured for, the links, and one row for each layer."""
    made_for = ", ".join(filter(None, (profile.dtype, f"batch {profile.batch_size}", profile.machine)))
    names = profile.devices or tuple(f"link {index}" for index in range(len(profile.links)))
    links = "".join(
        f"{name}: {link.bandwidth_gbps:.2f} GB/s after {link.latency_ms * 1e3:.1f} us a copy\n"
        for name, link in zip(names, profile.links)
    )
    warm = "" if profile.warm_ms is None else f"warm {profile.warm_ms:.3f} ms, "
    total_mb = sum(layer.size_bytes for layer in profile.layers) / 1e6
    rows = [
        (
            str(index),
            layer.name,
            layer.type,
            f"{layer.size_bytes / 1e6:.3f}" if layer.size_bytes else "",
            f"{layer.load_ms:.3f}" if layer.size_bytes else "",
            f"{layer.execute_ms:.3f}",
            "" if layer.direct_host_access_ms is None else f"{layer.direct_host_access_ms:.3f}",
        )
        for index, layer in enumerate(profile.layers)
    ]
    return (
        f"{profile.model or 'model'} ({made_for})\n{warm}{total_mb:.2f} MB in {len(profile.layers)} layers\n{links}"
        + text_table([_COLUMNS, *rows], left=(1, 2))
    )
