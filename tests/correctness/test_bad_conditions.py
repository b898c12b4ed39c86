"""A machine that is short of something: the answer is right over a slower way, or one error says what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import deepplan
from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.filling import fill
from deepplan.engine.source import resolve
from deepplan.errors import DeviceError, OutOfMemoryError

WIDTH = 1024
MIB = 1 << 20
MEMORY_BYTES = 64 * MIB  # of each small host device; a helper's staging buffers take 32 MiB

Make = Callable[..., Any]


@pytest.fixture
def wide() -> nn.Module:
    """16 MiB of weights."""
    torch.manual_seed(0)
    module = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(4))).eval().requires_grad_(False)
    module.example_inputs = torch.linspace(-1, 1, 2 * WIDTH).reshape(2, WIDTH)  # type: ignore[assignment]
    return module


@pytest.fixture
def small_devices() -> Iterator[None]:
    """Host devices that are soon full."""
    machine.set_host_links(machine.HostLinks())  # forgets pools and links of the large ones
    _core.set_host_devices(memory_bytes=MEMORY_BYTES)
    yield
    machine.set_host_links(machine.HostLinks())


def hog(device: str, mib: int) -> _core.Session:
    """Somebody else's model on `device`, in a pool of their own, that takes so much of its memory."""
    module = nn.Linear(1024, 256 * mib, bias=False).eval().requires_grad_(False)
    source = resolve(module, torch.zeros(1, 1024))
    program = _core.Program(source.captured.graph, "cpu")
    whole = _core.ExecutionPlan([True], [0], [0])
    session = _core.Session("hog", program, _core.Links(_core.Target(device)), whole)
    fill(session, source.captured)
    session.run(source.tensor_inputs())
    return session


@pytest.fixture
def spread(wide: nn.Module, profile_for: Make) -> Callable[[int], deepplan.Plan]:
    """`spread(links)`: a plan for `wide` with a group for each layer, the links taking turns."""

    def make(links: int) -> deepplan.Plan:
        profile = profile_for(wide, devices=tuple(f"host:{index}" for index in range(links)))
        count = len(profile.layers)
        routes = [index % links for index in range(count)]
        return deepplan.Plan.from_choices(profile, ["load"] * count, list(range(count)), routes)

    return make


def check_cold(session: deepplan.Session, model: nn.Module) -> None:
    for _ in range(3):
        session.evict(poison=True)
        assert torch.equal(session(model.example_inputs), model(model.example_inputs))


@pytest.mark.usefixtures("small_devices")
def test_a_full_helper_is_left_out(wide: nn.Module, spread: Callable[[int], deepplan.Plan]) -> None:
    plan = spread(3)
    full = hog("host:1", 40)
    with pytest.warns(RuntimeWarning, match="host:1 lends no link"), deepplan.load(wide, plan) as session:
        assert session.devices == ("host:0", "host:2")
        (reason,) = session.refused_links.values()
        assert "host:1 cannot give 8.0 MiB: " in reason and "free of 64.0 MiB" in reason
        check_cold(session, wide)
        # What was to travel over host:1 is with whoever had least to carry; the others keep their links.
        timeline = session.timeline()
        assert [group.route for group in timeline.groups] == [0, 1, 1, 0]
        assert timeline.devices == ("host:0", "host:2")
        assert session.plan is plan
        session.rebind(plan)
        check_cold(session, wide)
    del full
    with deepplan.load(wide, plan) as session:  # there is room again
        assert session.devices == ("host:0", "host:1", "host:2") and not session.refused_links
        check_cold(session, wide)


def test_a_helper_without_a_way_to_the_target_is_left_out(
    wide: nn.Module, spread: Callable[[int], deepplan.Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _core.Links

    def links(target: _core.Target, helpers: Any = (), *rest: Any) -> _core.Links:
        if "host:1" in helpers:
            raise DeviceError("host:1 cannot access the memory of host:0")
        return real(target, helpers, *rest)

    monkeypatch.setattr(_core, "Links", links)
    monkeypatch.setattr(machine, "_links", {})
    plan = spread(2)
    with pytest.warns(RuntimeWarning, match="cannot access"), deepplan.load(wide, plan) as session:
        assert session.devices == ("host:0",)
        assert session.refused_links == {"host:1": "host:1 cannot access the memory of host:0"}
        check_cold(session, wide)


def test_a_target_that_fails_is_not_blamed_on_helpers(
    wide: nn.Module, spread: Callable[[int], deepplan.Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise DeviceError("host:0 failed")

    plan = spread(2)
    monkeypatch.setattr(_core, "Links", fail)
    monkeypatch.setattr(machine, "_links", {})
    with pytest.raises(DeviceError, match="host:0 failed"):
        deepplan.load(wide, plan)


def test_a_busy_helper_slows_and_changes_nothing(wide: nn.Module, spread: Callable[[int], deepplan.Plan]) -> None:
    over = threading.Event()
    one, two = spread(1), spread(2)
    with deepplan.load(wide, one, devices="host:1") as its_own, deepplan.load(wide, two) as session:

        def keep_busy() -> None:
            while not over.is_set():
                its_own.evict()
                its_own(wide.example_inputs)

        thread = threading.Thread(target=keep_busy)
        thread.start()
        try:
            check_cold(session, wide)
        finally:
            over.set()
            thread.join()


@pytest.mark.usefixtures("small_devices")
def test_a_target_that_others_fill_is_told_with_all_values(
    wide: nn.Module, spread: Callable[[int], deepplan.Plan]
) -> None:
    plan = spread(1)
    with deepplan.load(wide, plan) as session:
        full = hog("host:0", 56)
        for _ in range(2):
            with pytest.raises(
                OutOfMemoryError, match=r"no room for model \S+ of 16\.0 MiB.*8\.0 MiB free on the device; close other"
            ):
                session(wide.example_inputs)
            assert not session.is_resident
        assert machine.target("host:0").used_bytes == 0
        del full
        check_cold(session, wide)


@pytest.mark.cuda
def test_a_gpu_that_others_fill_is_told_and_serves_again() -> None:
    """4 GiB are asked for where almost nothing is left; what torch took is given back afterwards."""
    module = nn.Linear(1 << 15, 1 << 15, bias=False, device="meta")
    small = nn.Linear(64, 64).eval().requires_grad_(False)
    x = torch.ones(2, 64)
    plan = deepplan.plan(small, x, devices=0)
    with deepplan.load(small, plan, example_inputs=x, launch="operators") as session:
        expected = session(x).cpu()
        session.evict()
        machine.target("cuda:0").trim()
        torch.cuda.empty_cache()
        taken = [torch.empty(torch.cuda.mem_get_info(0)[0] - (64 << 20), dtype=torch.uint8, device="cuda:0")]
        pool = _core.Target("cuda:0")
        source = resolve(module.to_empty(device="cpu").eval(), torch.zeros(1, 1 << 15), keep=False)
        program = _core.Program(source.captured.graph, "cuda:0")
        large = _core.Session("large", program, _core.Links(pool), _core.ExecutionPlan([True], [0], [0]))
        with pytest.raises(OutOfMemoryError, match=r"no room for model large#\d+ of 4\.0 GiB.*free on the device"):
            large.run([torch.zeros(1, 1 << 15)])
        del large
        taken.clear()
        torch.cuda.empty_cache()
        torch.testing.assert_close(session(x).cpu(), expected)


@pytest.mark.cuda
def test_a_model_loaded_onto_a_full_gpu_is_launched_by_operators(wide: nn.Module, profile_for: Make) -> None:
    expected = wide(wide.example_inputs)
    plan = deepplan.search(profile_for(wide, devices=("cuda:0",)), "pipeswitch")
    machine.target("cuda:0").evict_idle()
    torch.cuda.empty_cache()
    taken = torch.empty(torch.cuda.mem_get_info(0)[0] - (8 << 20), dtype=torch.uint8, device="cuda:0")
    with deepplan.load(wide, plan) as session:
        assert session.launch == "operators" and "16.0 MiB" in str(session.launch_refusal)
        with pytest.raises(OutOfMemoryError, match="close other models"):
            session(wide.example_inputs)
        del taken
        torch.cuda.empty_cache()
        torch.testing.assert_close(session(wide.example_inputs).cpu(), expected)


@pytest.mark.cuda
def test_a_full_gpu_that_was_to_help_is_left_out(
    wide: nn.Module, profile_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    profile = profile_for(wide, devices=("cuda:0", "cuda:1"))
    plan = deepplan.Plan.from_choices(profile, ["load"] * 4, [0, 1, 2, 3], [0, 1, 0, 1])
    monkeypatch.setattr(machine, "_links", {})
    taken = torch.empty(torch.cuda.mem_get_info(1)[0] - (16 << 20), dtype=torch.uint8, device="cuda:1")
    with pytest.warns(RuntimeWarning, match="cuda:1 lends no link"), deepplan.load(wide, plan) as session:
        assert session.devices == ("cuda:0",)
        for _ in range(3):
            session.evict(poison=True)
            torch.testing.assert_close(session(wide.example_inputs).cpu(), wide(wide.example_inputs))
    del taken
    torch.cuda.empty_cache()


SERVE = """
import sys
from pathlib import Path
import torch
import deepplan
torch.manual_seed(0)
module = torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(4))).eval()
x = torch.ones(2, 512)
plan = deepplan.plan(module, x, devices=[sys.argv[1]])
session = deepplan.load(module, plan, example_inputs=x)
print("ready", flush=True)
while True:
    session.evict()
    session(x)
    plan.save(Path(sys.argv[2]) / "plan.json")
"""


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.2])
def test_a_process_that_is_killed_leaves_nothing(backend: str, tmp_path: Path, after_s: float) -> None:
    """Nothing in shared memory, in the folder for temporary files or on the device, and no half of a document."""
    temporary, saved = tmp_path / "temporary", tmp_path / "saved"
    temporary.mkdir()
    saved.mkdir()
    shared = Path("/dev/shm")
    before = set(os.listdir(shared))
    free_bytes = torch.cuda.mem_get_info(0)[0] if backend == "cuda" else 0
    child = subprocess.Popen(
        [sys.executable, "-c", SERVE, f"{backend}:0", str(saved)],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary), "DEEPPLAN_HOME": str(tmp_path / "home")},
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"ready\n"
        time.sleep(after_s)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert not list(temporary.iterdir())
    assert not {name for name in set(os.listdir(shared)) - before if str(child.pid) in name}  # others may make some
    if (saved / "plan.json").exists():
        deepplan.Plan.load(saved / "plan.json")
    if backend == "cuda":
        deadline = time.monotonic() + 30  # the driver takes a moment
        while torch.cuda.mem_get_info(0)[0] < free_bytes - (64 << 20) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert torch.cuda.mem_get_info(0)[0] >= free_bytes - (64 << 20)
