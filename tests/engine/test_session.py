"""A session answers as the module does, cold and warm, under any plan, and refuses what it cannot answer."""

from __future__ import annotations

import json
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import deepplan
from deepplan.engine import machine
from deepplan.errors import InvalidInputError, MismatchError

PLANS = ["load_all", "pipeswitch", "optimal", "each_layer", "in_place"]
MakePlan = Callable[..., deepplan.Plan]


def load(model: torch.nn.Module, inputs: object, plan: deepplan.Plan, backend: str, links: int = 1) -> deepplan.Session:
    devices = [f"{backend}:{index}" for index in range(links)]
    return deepplan.load(model, plan, devices=devices, example_inputs=inputs)  # type: ignore[arg-type]


def eager(model: torch.nn.Module, backend: str, *args: torch.Tensor) -> torch.Tensor:
    import copy

    where = "cpu" if backend == "host" else "cuda:0"
    with torch.no_grad():
        result: torch.Tensor = copy.deepcopy(model).to(where)(*(arg.to(where) for arg in args))
    return result


@pytest.mark.parametrize("how", PLANS)
def test_equals_eager_cold_and_warm(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, backend: str, how: str
) -> None:
    expected = eager(tiny, backend, ids)
    with load(tiny, ids, make_plan(tiny, ids, how), backend) as session:
        for _ in range(3):
            session.evict(poison=True)
            assert not session.is_resident
            assert torch.equal(session(ids), expected)
            assert session.is_resident
            assert torch.equal(session(ids), expected)


@pytest.mark.parametrize("links", [2, 4])
def test_equals_eager_over_several_host_links(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, links: int
) -> None:
    plan = make_plan(tiny, ids, "each_layer", links)
    with load(tiny, ids, plan, "host", links) as session:
        for _ in range(5):
            session.evict(poison=True)
            assert torch.equal(session(ids), tiny(ids))


@pytest.fixture
def slow_links() -> Iterator[None]:
    """Host links so slow that a layer never finds its weights there by luck."""
    machine.set_host_links(machine.HostLinks(link_gbps=0.1))
    yield
    machine.set_host_links(machine.HostLinks())


@pytest.mark.parametrize("group", [0, 1, 2, 3, 4])
def test_a_dropped_wait_is_seen(slow_links: None, make_plan: MakePlan, backend: str, group: int) -> None:
    """Every wait is needed: without it the model computes on the poison that the memory was filled with."""
    wide = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(5))).eval()
    x = torch.ones(1, 1024)
    with load(wide, x, make_plan(wide, x, "each_layer"), backend) as session:
        session(x)
        session.evict(poison=True)
        session._runtime.drop_wait(group)
        assert not torch.equal(session(x), eager(wide, backend, x))
        session._runtime.drop_wait(-1)
        session.evict(poison=True)
        assert torch.equal(session(x), eager(wide, backend, x))


def test_may_be_called_from_several_threads(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, backend: str
) -> None:
    expected = eager(tiny, backend, ids)
    wrong: list[object] = []
    with load(tiny, ids, make_plan(tiny, ids, "each_layer"), backend) as session:

        def call() -> None:
            for _ in range(20):
                session.evict()
                if not torch.equal(session(ids), expected):
                    wrong.append("another answer")

        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


@pytest.mark.cuda
def test_a_pinned_input_may_be_overwritten_after_the_call(tiny: torch.nn.Module, make_plan: MakePlan) -> None:
    ids = torch.randint(0, 1000, (512, 64)).pin_memory()
    expected = eager(tiny, "cuda", ids)
    with load(tiny, ids, make_plan(tiny, ids), "cuda") as session:
        for _ in range(5):
            session.evict()
            given = ids.clone().pin_memory()
            result = session(given)
            given.fill_(0)
            assert torch.equal(result, expected)


def test_timelines_and_calls_take_turns(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, backend: str
) -> None:
    """A timeline is several steps of the runtime: calls of other threads do not come between them."""
    expected = eager(tiny, backend, ids)
    failures: list[object] = []
    with load(tiny, ids, make_plan(tiny, ids, "each_layer"), backend) as session:
        session(ids)

        def repeat(action: Callable[[], bool]) -> None:
            try:
                if not all(action() for _ in range(15)):
                    failures.append("wrong")
            except Exception as error:  # a thread's exception would go unseen
                failures.append(error)

        actions = [
            lambda: bool(session.timeline().groups),
            lambda: torch.equal(session(ids), expected),
            lambda: not session.timeline(cold=False).groups,
            lambda: session.evict() in (True, False),
        ]
        # A warm timeline is only warm while nobody evicts: that action runs with calls alone.
        for together in (actions[:3:2], actions[::3], actions[:2]):
            threads = [threading.Thread(target=repeat, args=(action,)) for action in together]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert not failures


def test_idle_models_make_room_when_memory_is_short(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, backend: str
) -> None:
    plan = make_plan(tiny, ids, "each_layer")
    with load(tiny, ids, plan, backend) as idle, load(tiny, ids, plan, backend) as session:
        idle(ids)

        class Short:
            """A runtime whose first run finds no memory for activations."""

            def __init__(self) -> None:
                self.inner, self.runs = session._runtime, 0

            def run(self, inputs: list[torch.Tensor]) -> list[object]:
                self.runs += 1
                if self.runs == 1:
                    raise deepplan.OutOfMemoryError("activations do not fit")
                return self.inner.run(inputs)

        short = Short()
        session._core = short  # type: ignore[assignment]
        assert torch.equal(session(ids), eager(tiny, backend, ids))
        assert short.runs == 2 and not idle.is_resident
        session._core = short.inner
        assert torch.equal(idle(ids), eager(tiny, backend, ids))


Pair = namedtuple("Pair", "left right")


class Nested(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, *, options: dict[str, torch.Tensor]) -> dict[str, object]:
        y = self.fc(x) + options["bias"]
        return {"pair": Pair(y, [y * 2, (x,)]), "weight": self.fc.weight, "n": 3, "none": None}


def test_returns_what_the_module_returns(make_plan: MakePlan, backend: str) -> None:
    model = Nested().eval()
    inputs = {"x": torch.randn(2, 4), "options": {"bias": torch.ones(4)}}
    with load(model, inputs, make_plan(model, inputs), backend) as session:
        result = session(**inputs)
        session.evict(poison=True)
        assert list(result) == ["pair", "weight", "n", "none"]
        assert isinstance(result["pair"], Pair)
        assert isinstance(result["pair"].right, list) and isinstance(result["pair"].right[1], tuple)
        assert result["n"] == 3 and result["none"] is None
        # A returned weight is a copy: the memory it came from belongs to somebody else by now.
        assert torch.equal(result["weight"].cpu(), model.fc.weight)
        torch.testing.assert_close(result["pair"].left.cpu(), model(**inputs)["pair"].left)
        assert not result["pair"].left.is_inference()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(3, 6, dtype=torch.int64), r"\[3, 6\].*\[2, 6\]"),
        (torch.zeros(2, 6, dtype=torch.int32), "Int.*int64"),
        ("text", "must be a tensor"),
    ],
)
def test_refuses_other_inputs_and_goes_on(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, backend: str, bad: object, message: str
) -> None:
    with load(tiny, ids, make_plan(tiny, ids), backend) as session:
        with pytest.raises(InvalidInputError, match=message):
            session(bad)
        with pytest.raises(InvalidInputError):
            session()
        assert torch.equal(session(ids), eager(tiny, backend, ids))


def test_an_operator_that_fails_leaves_nothing_half_loaded(make_plan: MakePlan, backend: str) -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 4)).eval()
    ids = torch.zeros(2, 3, dtype=torch.int64)
    if backend == "cuda":
        pytest.skip("an index out of range is a device-side assertion there, which ends the process's context")
    with load(model, ids, make_plan(model, ids, "each_layer"), backend) as session:
        with pytest.raises(deepplan.DeepPlanError, match="index out of range"):
            session(ids + 100)
        assert not session.is_resident
        assert torch.equal(session(ids), model(ids))


def test_a_plan_for_another_model_is_refused(tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan) -> None:
    other = torch.nn.Linear(3, 3).eval()
    plan = make_plan(other, torch.zeros(1, 3))
    with pytest.raises(MismatchError, match="another model"):
        load(tiny, ids, plan, "host")


def test_traces_predicted_and_measured_alike(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, backend: str, tmp_path: Path
) -> None:
    plan = make_plan(tiny, ids, "each_layer")
    with load(tiny, ids, plan, backend) as session:
        with pytest.raises(InvalidInputError, match="call the session first"):
            session.trace(tmp_path / "early.json")
        session(ids)
        timeline = session.timeline()
        assert timeline.kind == "measured"
        assert [layer.name for layer in timeline.layers] == [layer.name for layer in plan.layers]
        assert [group.size_bytes for group in timeline.groups] == [g.size_bytes for g in plan.timeline.groups]
        assert timeline.total_ms >= max(group.end_ms for group in timeline.groups) > 0
        assert not session.timeline(cold=False).groups
        session.trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {event["ph"] for event in events} >= {"X"}


def test_closing_gives_memory_back(tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, backend: str) -> None:
    from deepplan import _core

    before = _core.arena_stats().used_bytes
    session = load(tiny, ids, make_plan(tiny, ids), backend)
    session(ids)
    assert _core.arena_stats().used_bytes >= before + session.pinned_bytes
    session.close()
    session.close()
    assert _core.arena_stats().used_bytes == before
    if before == 0:  # nobody else's model keeps a segment
        assert _core.arena_stats().reserved_bytes == 0
    with pytest.raises(InvalidInputError, match="closed"):
        session(ids)


def test_the_callers_gradients_and_autocast_stay_outside(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan
) -> None:
    expected = tiny(ids)
    with load(tiny, ids, make_plan(tiny, ids), "host") as session, torch.autocast("cpu", torch.bfloat16):
        result = session(ids)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(result, expected) and not result.requires_grad
    scale = torch.ones(1, requires_grad=True)
    (result * scale).sum().backward()  # an ordinary tensor, usable in the caller's own gradients
    assert scale.grad is not None
