from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence

import pytest
import torch

from deepplan._core import Session
from deepplan.serving.run_costs import cold_ms, warm_ms

WARM_MS, LOAD_MS = 1.0, 4.0


class Host:
    """Of sessions whose loads take so many times longer as others run at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loading = 0


class FakeSession:
    """Of a GPU's memory, if one is given, it takes all: whoever is there leaves."""

    def __init__(self, host: Host, fails: bool = False, memory: list[FakeSession] | None = None) -> None:
        self.host, self.fails, self.memory = host, fails, memory
        self.is_resident, self.links = False, [0]
        self.runs: list[tuple[bool, int]] = []  # whether it was cold, and over how many links it could be

    @property
    def colds(self) -> int:
        return sum(cold for cold, _ in self.runs)

    def use_links(self, links: Sequence[int]) -> None:
        self.links = list(links)

    def evict(self) -> bool:
        was, self.is_resident = self.is_resident, False
        return was

    def answer(self, inputs: list[torch.Tensor]) -> list[object]:
        if self.fails:
            raise RuntimeError("made to fail")
        self.runs.append((not self.is_resident, len(self.links)))
        if not self.is_resident:
            self._load()
        time.sleep(WARM_MS / 1e3)
        return [inputs[0]]

    def _load(self) -> None:
        with self.host.lock:
            self.host.loading += 1
            crowd = self.host.loading
        time.sleep(LOAD_MS / 1e3 / len(self.links) * crowd)
        with self.host.lock:
            self.host.loading -= 1
        for other in self.memory or ():
            other.is_resident = False
        self.is_resident = True
        if self.memory is not None:
            self.memory[:] = [self]


INPUTS = [torch.zeros(1)]


def as_sessions(*sessions: FakeSession) -> list[Session]:
    return sessions  # type: ignore[return-value]


def test_a_cold_start_takes_less_over_more_links_and_more_while_others_load() -> None:
    host = Host()
    gpus = [as_sessions(FakeSession(host)) for _ in range(4)]
    rows = cold_ms(gpus, INPUTS, 2)
    assert rows[0][0] >= LOAD_MS + WARM_MS
    assert [len(row) for row in rows] == [2, 2, 2, 1], "over links that the others leave"
    for fewer, more in itertools.pairwise(rows):
        assert all(b >= a for a, b in zip(fewer, more))
    assert rows[3][0] > 1.5 * rows[0][0]
    assert not any(gpu[0].is_resident for gpu in gpus)
    assert all(gpu[0].colds > 1 for gpu in gpus)  # type: ignore[attr-defined]
    assert WARM_MS <= warm_ms(gpus[0], INPUTS) < rows[0][1] < rows[0][0]


def test_what_slows_one_measurement_does_not_count() -> None:
    class Disturbed(FakeSession):
        def answer(self, inputs: list[torch.Tensor]) -> list[object]:
            if len(self.runs) < 5:
                time.sleep(0.1)
            return super().answer(inputs)

    session = Disturbed(Host())
    ((ms,),) = cold_ms([as_sessions(session)], INPUTS, 1)
    assert len(session.runs) > 10 and LOAD_MS < ms < 100


def test_instances_in_faster_and_slower_memory_count_alike() -> None:
    class Slow(FakeSession):
        def answer(self, inputs: list[torch.Tensor]) -> list[object]:
            time.sleep(0.05)
            return super().answer(inputs)

    host = Host()
    fast, slow = as_sessions(FakeSession(host)), as_sessions(Slow(host))
    ((of_fast_ms,),), ((of_slow_ms,),) = cold_ms([fast], INPUTS, 1), cold_ms([slow], INPUTS, 1)
    ((of_both_ms,),) = cold_ms([[*fast, *fast, *slow, *slow]], INPUTS, 1)
    assert of_both_ms == pytest.approx((of_fast_ms + of_slow_ms) / 2, rel=0.2)


def test_instances_are_measured_in_turn() -> None:
    host = Host()
    gpus = [[FakeSession(host) for _ in range(4)] for _ in range(2)]
    cold_ms([as_sessions(*sessions) for sessions in gpus], INPUTS, 2)
    first, second = gpus[0][::2]
    assert len(first.runs) == len(second.runs) > 2
    assert set(first.runs + second.runs) == {(True, 1), (True, 2)}
    assert not first.is_resident and not second.is_resident
    first.runs, second.runs = [], []
    warm_ms(as_sessions(first, second), INPUTS)
    assert len(first.runs) == len(second.runs) > 2
    assert first.colds == second.colds == 1, "to bring them in"


def test_where_only_one_fits_warm_runs_are_warm() -> None:
    host, memory = Host(), list[FakeSession]()
    first, second = FakeSession(host, memory=memory), FakeSession(host, memory=memory)
    assert warm_ms(as_sessions(first, second), INPUTS) < LOAD_MS
    assert (first.colds, second.colds) == (1, 1) and len(first.runs) == 1 and len(second.runs) > 3


def test_gpus_that_load_at_a_time_load_different_instances() -> None:
    host = Host()
    gpus = [[FakeSession(host) for _ in range(5)] for _ in range(3)]
    cold_ms([as_sessions(*sessions) for sessions in gpus], INPUTS, 1)
    used = [[index for index, session in enumerate(sessions) if session.colds] for sessions in gpus]
    assert used == [[0, 3], [1, 4], [2]]


def test_the_last_instance_stays_and_no_other() -> None:
    resident = []

    class Counted(FakeSession):
        def answer(self, inputs: list[torch.Tensor]) -> list[object]:
            results = super().answer(inputs)
            resident.append(sum(session.is_resident for session in sessions))
            return results

    host = Host()
    sessions = [Counted(host) for _ in range(4)]
    cold_ms([as_sessions(*sessions)], INPUTS, 1)
    assert all(session.colds == len(session.runs) > 1 for session in sessions)
    assert set(resident) == {1, 2} and 2 <= resident.count(1) <= 5, "the first of each slice"


def test_one_instance_is_loaded_by_all() -> None:
    host = Host()
    gpus = [FakeSession(host) for _ in range(3)]
    assert len(cold_ms([as_sessions(gpu) for gpu in gpus], INPUTS, 1)) == 3
    assert all(gpu.colds > 1 for gpu in gpus)


def test_what_fails_beside_is_raised() -> None:
    host = Host()
    with pytest.raises(RuntimeError, match="made to fail"):
        cold_ms([as_sessions(FakeSession(host)), as_sessions(FakeSession(host, fails=True))], INPUTS, 1)
