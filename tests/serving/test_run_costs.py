from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
import torch

from deepplan.serving.run_costs import cold_ms, crowded_ms, warm_ms

WARM_MS, LOAD_MS = 1.0, 4.0


class Host:
    """Of sessions whose loads take so many times longer as others run at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loading = 0


class FakeSession:
    def __init__(self, host: Host, fails: bool = False) -> None:
        self.host, self.fails = host, fails
        self.resident, self.links = False, [0]
        self.colds = 0

    def use_links(self, links: Sequence[int]) -> None:
        self.links = list(links)

    def evict(self) -> bool:
        was, self.resident = self.resident, False
        return was

    def run(self, inputs: list[torch.Tensor]) -> list[object]:
        if self.fails:
            raise RuntimeError("made to fail")
        if not self.resident:
            with self.host.lock:
                self.host.loading += 1
                crowd = self.host.loading
            time.sleep(LOAD_MS / 1e3 / len(self.links) * crowd)
            with self.host.lock:
                self.host.loading -= 1
            self.resident = True
            self.colds += 1
        time.sleep(WARM_MS / 1e3)
        return [inputs[0]]


INPUTS = [torch.zeros(1)]


def test_a_cold_start_takes_less_over_more_links_and_more_while_others_load() -> None:
    host = Host()
    gpus = [FakeSession(host) for _ in range(4)]
    alone_ms = [cold_ms(gpus[0], INPUTS, links) for links in (1, 2)]  # type: ignore[arg-type]
    assert WARM_MS <= warm_ms(gpus[0], INPUTS) < alone_ms[1] < alone_ms[0]  # type: ignore[arg-type]
    assert alone_ms[0] >= LOAD_MS + WARM_MS
    rows = crowded_ms(gpus, INPUTS, alone_ms)  # type: ignore[arg-type]
    assert [len(row) for row in rows] == [2, 2, 1], "over links that the others leave"
    for fewer, more in zip((tuple(alone_ms), *rows), rows):
        assert all(b >= a for a, b in zip(fewer, more))
    assert rows[2][0] > 1.5 * alone_ms[0]
    assert not any(gpu.resident for gpu in gpus[1:]) and all(gpu.colds > 1 for gpu in gpus)


def test_one_gpu_has_nobody_beside_it() -> None:
    assert crowded_ms([FakeSession(Host())], INPUTS, [5.0]) == ()  # type: ignore[list-item]


def test_what_fails_beside_is_raised() -> None:
    host = Host()
    with pytest.raises(RuntimeError, match="made to fail"):
        crowded_ms([FakeSession(host), FakeSession(host, fails=True)], INPUTS, [5.0])  # type: ignore[list-item]
