"""The functions of `deepplan`, end to end on host devices: plan, save, load, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import deepplan
from deepplan.engine import profiler, source
from deepplan.errors import DeviceError, InvalidInputError, MismatchError, UnknownNameError

HOST = ["host:0"]


class Classifier(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(500, 32)
        self.hidden = torch.nn.Linear(32, 64)
        self.out = torch.nn.Linear(64, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.hidden(self.table(ids))))


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier().eval()


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.arange(12).reshape(2, 6) * 37 % 500


@pytest.fixture(autouse=True)
def short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "_BUDGET_S", 0.1)


@pytest.fixture
def plan(model: Classifier, ids: torch.Tensor) -> deepplan.Plan:
    return deepplan.plan(model, ids, devices=HOST)


def run_python(code: str, *arguments: object) -> str:
    """What another process prints, which knows nothing of this one."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_zoo_plan_for_a_shipped_machine_needs_no_torch() -> None:
    code = (
        "import sys, deepplan; plan = deepplan.plan('bert_base', machine='h200x4', devices=[0, 2]);"
        "print(plan.model, plan.machine, *plan.links, 'torch' in sys.modules)"
    )
    assert run_python(code) == "bert_base h200x4 0 2 False"


def test_a_shipped_plan_is_of_the_model_and_policy_that_were_asked_for() -> None:
    plan = deepplan.plan("gpt2", machine="h200x4", devices=0, policy="pipeswitch")
    assert (plan.model, plan.dtype, plan.batch_size, plan.policy) == ("gpt2", "fp32", 1, "pipeswitch")
    assert plan.links == (0,)
    assert plan.direct_host_access_bytes == 0


@pytest.mark.parametrize(
    ("model", "arguments", "error", "message"),
    [
        ("bert_base", {"machine": "abacus"}, UnknownNameError, "'abacus'; there are: .*h200x4"),
        ("no_such_model", {"machine": "h200x4"}, UnknownNameError, "no_such_model.*bert_base-fp32-b1"),
        ("bert_base", {"machine": "h200x4", "dtype": "fp8"}, UnknownNameError, "fp8"),
        ("bert_base", {"machine": "h200x4", "batch_sizes": [1000]}, UnknownNameError, "batch 1000"),
        ("bert_base", {"machine": "h200x4", "policy": "best"}, UnknownNameError, "best"),
        ("bert_base", {"machine": "h200x4", "devices": ["cuda:0"]}, InvalidInputError, "indices of that machine"),
        ("bert_base", {"machine": "h200x4", "devices": [0, 99]}, InvalidInputError, "99"),
        ("bert_base", {"machine": "h200x4", "devices": []}, InvalidInputError, "links"),
        ("bert_base", {"batch_sizes": [1, 2]}, InvalidInputError, r"\[1, 2\].*make one for each"),
        ("bert_base", {"batch_sizes": []}, InvalidInputError, "one batch size"),
        ("no_such_model", {"devices": HOST}, UnknownNameError, "no_such_model"),
        ("bert_base", {"devices": ["host:99"]}, DeviceError, "host:99 is not there"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    model: str, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        deepplan.plan(model, **arguments)  # type: ignore[arg-type]


def test_a_module_of_ones_own_has_no_shipped_profile(model: Classifier, ids: torch.Tensor) -> None:
    with pytest.raises(InvalidInputError, match="not with a Classifier"):
        deepplan.plan(model, ids, machine="h200x4")


def test_plan_then_load_answers_as_the_module(model: Classifier, ids: torch.Tensor, plan: deepplan.Plan) -> None:
    assert (plan.model, plan.devices, plan.policy, plan.batch_size) == ("Classifier", ("host:0",), "optimal", 1)
    with deepplan.load(model, plan) as session:
        assert session.devices == ("host:0",)
        assert torch.equal(session(ids), model(ids))
        assert torch.equal(session(ids), model(ids))


def test_a_saved_plan_is_the_plan(model: Classifier, ids: torch.Tensor, plan: deepplan.Plan, tmp_path: Path) -> None:
    plan.save(tmp_path / "plan.json")
    read = deepplan.Plan.load(tmp_path / "plan.json")
    assert read == plan
    source._of_module.clear()  # as in another process, which has planned nothing
    with pytest.raises(InvalidInputError, match="example_inputs"):
        deepplan.load(model, read)
    with deepplan.load(model, read, example_inputs=ids) as session:
        assert torch.equal(session(ids), model(ids))


RUN_FOLDER = """
import sys, torch, deepplan
with deepplan.load(sys.argv[1]) as session:
    torch.save((session(torch.load(sys.argv[2])), session.plan.policy, session.devices), sys.argv[3])
"""


def test_another_process_runs_a_saved_session(
    model: Classifier, ids: torch.Tensor, plan: deepplan.Plan, tmp_path: Path
) -> None:
    with deepplan.load(model, plan) as session:
        session.save(tmp_path / "exported")
    torch.save(ids, tmp_path / "ids.pt")
    run_python(RUN_FOLDER, tmp_path / "exported", tmp_path / "ids.pt", tmp_path / "answer.pt")
    answer, policy, devices = torch.load(tmp_path / "answer.pt")
    assert torch.equal(answer, model(ids))
    assert (policy, devices) == ("optimal", ("host:0",))


def test_a_session_saved_at_batch_4_is_one_of_batch_4(model: Classifier, ids: torch.Tensor, tmp_path: Path) -> None:
    one = ids[:1]
    plan = deepplan.plan(model, one, devices=HOST, batch_sizes=[4])
    four = ids.reshape(4, 3).repeat(1, 2)
    with deepplan.load(model, plan) as session:
        assert torch.equal(session(four), model(four))
        session.save(tmp_path)
    assert source.resolve(tmp_path).batch_size == plan.batch_size == 4
    assert deepplan.profile(tmp_path, devices=HOST).batch_size == 4
    with deepplan.load(tmp_path) as session:
        assert torch.equal(session(four), model(four))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"torch": "1.0.0"}, "made with torch 1.0.0 and this is"),
        ({"machine": "abacus"}, "made for abacus and this is host-"),
        ({"model_digest": "0" * 64, "model": "Regressor"}, r"another model \(Regressor\)"),
    ],
)
def test_a_plan_of_elsewhere_is_refused(
    model: Classifier, plan: deepplan.Plan, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(MismatchError, match=message):
        deepplan.load(model, replace(plan, **changes))  # type: ignore[arg-type]
    unsigned = replace(plan, torch="", machine="", model_digest="")
    deepplan.load(model, unsigned).close()  # made by hand: only its layers must fit


def test_a_plan_binds_to_the_devices_that_are_named(model: Classifier, ids: torch.Tensor, plan: deepplan.Plan) -> None:
    with deepplan.load(model, plan, devices=["host:2"]) as session:
        assert session.devices == ("host:2",)
        assert torch.equal(session(ids), model(ids))
    two = deepplan.plan(model, ids, devices=["host:0", "host:1"], policy="pipeswitch")
    assert two.links == (0, 1)
    with pytest.raises(MismatchError, match="uses 2 links and 1 devices"):
        deepplan.load(model, two, devices=HOST)


def test_load_needs_a_plan(model: Classifier, ids: torch.Tensor) -> None:
    with pytest.raises(InvalidInputError, match="load needs a plan"):
        deepplan.load(model, example_inputs=ids)


def test_release_frees_the_modules_memory_and_only_then(
    model: Classifier, ids: torch.Tensor, plan: deepplan.Plan
) -> None:
    expected = model(ids)
    deepplan.load(model, plan).close()
    assert torch.equal(model(ids), expected)
    with deepplan.load(model, plan, release=True) as session:
        assert {parameter.untyped_storage().nbytes() for parameter in model.parameters()} == {0}
        assert torch.equal(session(ids), expected)


def test_simulate_and_search_agree_with_plan(model: Classifier, ids: torch.Tensor) -> None:
    profile = deepplan.profile(model, ids, HOST)
    plan = deepplan.search(profile)
    assert deepplan.simulate(profile, plan).total_ms == pytest.approx(plan.predicted_ms)


@pytest.mark.parametrize("forgotten", [False, True])
def test_load_takes_the_precision_from_the_plan(model: Classifier, ids: torch.Tensor, forgotten: bool) -> None:
    """Whether the export that `plan` made was kept or not."""
    plan = deepplan.plan(model, {"ids": ids}, devices=HOST, policy="load_all", dtype="bf16")
    assert (plan.policy, plan.dtype) == ("load_all", "bf16")
    if forgotten:
        source._of_module.clear()
    inputs = {"ids": ids} if forgotten else None
    with deepplan.load(model, plan, example_inputs=inputs) as session:
        answer = session(ids=ids)
    assert answer.dtype == torch.bfloat16
    torch.testing.assert_close(answer.float(), model(ids), rtol=0.1, atol=0.1)


def test_a_profile_is_reported_on_where_asked(model: Classifier, ids: torch.Tensor) -> None:
    shares: list[float] = []
    deepplan.profile(model, ids, HOST, report=shares.append)
    assert shares[-1] == 1
    assert deepplan.profile(model, ids, HOST).model == "Classifier"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda model, ids: deepplan.plan(model, ids, batch_sizes=2), InvalidInputError),
        (lambda model, ids: deepplan.plan(model, ids, batch_sizes=None), InvalidInputError),
        (lambda model, ids: deepplan.plan(model, ids, batch_sizes=["2"], devices=HOST), InvalidInputError),
        (lambda model, ids: deepplan.plan(model, ids, devices=None), DeviceError),
        (lambda model, ids: deepplan.plan("bert_base", machine="h200x4", devices=None), InvalidInputError),
        (lambda model, ids: deepplan.plan(7, ids, devices=HOST), InvalidInputError),
        (lambda model, ids: deepplan.profile(model, ids, devices=None), DeviceError),
        (lambda model, ids: deepplan.profile(model, ids, devices=HOST, batch_size=2.0), InvalidInputError),
        (lambda model, ids: deepplan.load(model, "plan.json"), InvalidInputError),
    ],
)
def test_an_argument_of_another_kind_is_refused_by_name(
    model: Classifier, ids: torch.Tensor, call: Callable[[object, object], object], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"batch|devices|plan|model"):
        call(model, ids)


def test_a_plan_is_not_loaded_onto_what_is_no_device(model: Classifier, plan: deepplan.Plan) -> None:
    with pytest.raises(DeviceError, match=r"devices=2\.5"):
        deepplan.load(model, plan, devices=2.5)  # type: ignore[arg-type]
