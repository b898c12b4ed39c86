"""Profiles that several tests plan for."""

from __future__ import annotations

import pytest

from deepplan.planning.profile import LayerProfile, LinkProfile, Profile

MB = 1_000_000


@pytest.fixture
def make_layer():
    """A function that makes a layer which can be read in place unless `direct_host_access_ms` is None."""

    def make(name, size_bytes, execute_ms, direct_host_access_ms, load_ms=1.0):
        return LayerProfile(name, "Linear", size_bytes, load_ms, execute_ms, direct_host_access_ms)

    return make


@pytest.fixture
def small_profile(make_layer):
    """A function that makes a profile of an embedding best read in place, two layers to load, one without parameters.

    On each of its links 1 MB takes 0.1 ms, and a copy 0.01 ms more.
    """

    def make(links=1, **metadata):
        layers = (
            LayerProfile("embedding", "Embedding", 40 * MB, 4.0, 0.1, 0.2),
            make_layer("first", 10 * MB, 2.0, 6.0),
            LayerProfile("relu", "ReLU", 0, 0.0, 0.5, None),
            make_layer("second", 20 * MB, 1.0, None, load_ms=2.0),
        )
        return Profile(layers, (LinkProfile(latency_ms=0.01, bandwidth_gbps=10.0),) * links, **metadata)

    return make
