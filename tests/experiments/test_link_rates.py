from __future__ import annotations

from pathlib import Path

import torch


def test_several_links_bring_more_than_one() -> None:
    from deepplan.engine.devices import Devices
    from link_rates import striped_rates

    rows = list(striped_rates(Devices(("host:0", "host:1")), groups=4, group_bytes=4 << 20, repeats=3))
    assert [row["links"] for row in rows] == [1] + [2] * 9
    assert rows[0]["piece_mib"] is None and rows[0]["bytes"] == 16 << 20
    assert max(row["max_gbps"] for row in rows[1:]) > 1.2 * rows[0]["gbps"]


def test_planned_groups_are_compared_with_one_copy_of_their_bytes(monkeypatch, tmp_path: Path) -> None:
    import link_rates
    from deepplan.engine.devices import Devices

    def build(name: str) -> torch.nn.Module:
        module = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(6))).eval()
        module.zoo_name, module.example_inputs = name, torch.zeros(64, 256)
        return module

    monkeypatch.setattr(link_rates.models, "build", build)
    rows = list(link_rates.planned_groups("small", Devices(("host:0",)), tmp_path, repeats=3))
    # On the host device reading everything in place may be best, and then the optimal plan has no groups.
    assert [row["policy"] for row in rows] in (["optimal", "pipeswitch"], ["pipeswitch"])
    assert rows[-1]["bytes"] == 6 * 4 * (256 * 256 + 256)
    assert all(row["in_groups_ms"] > 0 and row["ratio"] == row["in_groups_ms"] / row["in_one_copy_ms"] for row in rows)
