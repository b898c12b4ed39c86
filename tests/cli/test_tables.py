from __future__ import annotations

from deepplan import LayerProfile, LinkProfile, Profile
from deepplan.cli.tables import profile_table


def test_a_profile_is_shown_by_layer() -> None:
    layers = (
        LayerProfile("table", "Embedding", 4_000_000, 0.08, 0.004, 0.027),
        LayerProfile("lstm", "LSTM", 2_000_000, 0.04, 0.5, None),
        LayerProfile("relu", "ReLU", 0, 0.0, 0.002, None),
    )
    profile = Profile(layers, (LinkProfile(0.01, 50.0),), warm_ms=0.51, model="net", dtype="fp32", machine="box1")
    assert profile_table(profile).splitlines() == [
        "net (fp32, batch 1, box1)",
        "warm 0.510 ms, 6.00 MB in 3 layers",
        "link 0: 50.00 GB/s after 10.0 us a copy",
        "   layer  type          MB  load ms  execute ms  DHA ms",
        "0  table  Embedding  4.000    0.080       0.004   0.027",
        "1  lstm   LSTM       2.000    0.040       0.500",
        "2  relu   ReLU                            0.002",
    ]
