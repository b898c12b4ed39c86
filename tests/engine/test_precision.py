from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from deepplan.engine.precision import NAMES, check_name, precision, prepare
from deepplan.errors import InvalidInputError, UnknownNameError

LEVELS: tuple[Any, ...] = (torch.backends, torch.backends.cudnn)
KINDS: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)


def settings() -> list[str]:
    return [switch.fp32_precision for switch in (*LEVELS, *KINDS)]


def uses_tf32() -> list[bool]:
    return [kind.fp32_precision == "tf32" for kind in KINDS]


@pytest.fixture(autouse=True)
def torch_settings() -> Iterator[None]:
    """Every test starts and ends with torch's own settings."""
    try:
        yield
    finally:
        torch.backends.fp32_precision = "none"
        torch.backends.cudnn.fp32_precision = "none"
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cuda.matmul.fp32_precision = "none"
        torch.backends.cudnn.allow_tf32 = True


class Mixed(torch.nn.Module):
    """Weights of every kind of dtype, two of them tied, and one that is no leaf of a tree of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Linear(3, 3)
        self.b = torch.nn.Linear(3, 3, dtype=torch.float64)
        self.b.weight = self.a.weight
        self.frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("ids", torch.arange(3))
        self.register_buffer("turn", torch.tensor([1 + 2j]))
        self.lstm = torch.nn.LSTM(3, 3)


def test_unknown_names_are_refused_with_those_there_are() -> None:
    for name in (None, *NAMES):
        check_name(name)
    for name in ("float32", ""):
        with pytest.raises(UnknownNameError, match="fp32, tf32, bf16, fp16"):
            check_name(name)
    with pytest.raises(UnknownNameError):
        prepare(torch.nn.Linear(1, 1), (), {}, "fp64")


@pytest.mark.parametrize("name", [None, "fp32", "tf32"])
def test_a_module_that_fits_is_returned_itself(name: str | None) -> None:
    module = torch.nn.BatchNorm2d(2)  # with an integer buffer
    x = torch.zeros(1, 2, 3, 3)
    prepared, (y,), kwargs = prepare(module, (x,), {}, name)
    assert prepared is module and y is x and kwargs == {}


def test_no_precision_changes_nothing() -> None:
    module, x = Mixed(), torch.zeros(1, dtype=torch.float64)
    prepared, args, _ = prepare(module, (x,), {}, None)
    assert prepared is module and args[0] is x


@pytest.mark.parametrize(
    ("name", "dtype"), [("tf32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_cast_copy_leaves_the_users_module_alone(name: str, dtype: torch.dtype) -> None:
    module = Mixed().eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    prepared, _, _ = prepare(module, (), {}, name)

    assert prepared is not module and not prepared.training
    assert isinstance(prepared, Mixed)
    for key, value in module.state_dict().items():
        assert value.dtype == before[key].dtype and torch.equal(value, before[key])
        cast = prepared.state_dict()[key]
        assert cast.dtype == (dtype if value.is_floating_point() else value.dtype)
        assert torch.equal(cast, value.to(cast.dtype))
        assert cast.data_ptr() != value.data_ptr()
    assert prepared.b.weight is prepared.a.weight
    assert prepared.a.weight.requires_grad and not prepared.frozen.requires_grad
    assert {id(weight) for weight in prepared.lstm._flat_weights} == {id(p) for p in prepared.lstm.parameters()}


def test_a_module_that_has_the_dtype_is_returned_itself() -> None:
    module = torch.nn.Linear(3, 3, dtype=torch.bfloat16)
    prepared, (x,), _ = prepare(module, (torch.zeros(1, 3),), {}, "bf16")
    assert prepared is module and x.dtype == torch.bfloat16


def test_floating_inputs_are_cast_wherever_they_are_nested() -> None:
    x, ids = torch.ones(2), torch.ones(2, dtype=torch.int64)
    args, kwargs = prepare(torch.nn.Identity(), ([x, {"ids": ids}], 1.5), {"mask": x.double()}, "fp16")[1:]
    assert args[0][0].dtype == kwargs["mask"].dtype == torch.float16
    assert args[0][1]["ids"] is ids and args[1] == 1.5
    assert x.dtype == torch.float32


def test_a_module_that_cannot_be_copied_is_named() -> None:
    module = torch.nn.Linear(2, 2)
    module.lock = threading.Lock()
    with pytest.raises(InvalidInputError, match="Linear cannot be copied to be cast to bf16"):
        prepare(module, (), {}, "bf16")


def test_a_cast_model_runs() -> None:
    prepared, args, kwargs = prepare(Mixed().eval(), (torch.rand(2, 1, 3),), {}, "bf16")
    outputs, _ = prepared.lstm(*args, **kwargs)
    assert outputs.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("generic", "cudnn", "matmul", "conv"), list(itertools.product(("none", "ieee", "tf32"), repeat=4))
)
def test_sets_tf32_and_restores_every_setting(generic: str, cudnn: str, matmul: str, conv: str) -> None:
    torch.backends.fp32_precision = generic
    for switch, value in zip((LEVELS[1], *KINDS), (cudnn, matmul, conv, "none")):
        switch.fp32_precision = value
    before = settings()
    for name, tf32 in (("fp32", False), ("tf32", True)):
        with precision(name):
            assert uses_tf32() == [tf32] * 3
        assert settings() == before

    # Not only what is read is as before: what follows another setting still follows it.
    with precision("fp32"), precision("fp32"):
        pass
    with precision("tf32"):
        pass
    for level in ("ieee", "tf32"):
        torch.backends.fp32_precision = level
        resolved = cudnn if cudnn != "none" else level
        assert settings()[1:] == [resolved, *(v if v != "none" else resolved for v in (matmul, conv, "none"))]


@pytest.mark.parametrize("name", [None, "bf16", "fp16"])
def test_other_precisions_set_nothing(name: str | None) -> None:
    before = settings()
    with precision(name):
        assert settings() == before


@pytest.mark.parametrize("matmul", [False, True])
@pytest.mark.parametrize("cudnn", [False, True])
def test_the_legacy_settings_read_as_before(matmul: bool, cudnn: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = matmul
    torch.backends.cudnn.allow_tf32 = cudnn
    for name in ("fp32", "tf32"):
        with precision(name):
            assert uses_tf32() == [name == "tf32"] * 3
        # These raise where the old and the new way of setting disagree.
        assert torch.backends.cuda.matmul.allow_tf32 == matmul
        assert torch.backends.cudnn.allow_tf32 == cudnn
        assert torch.get_float32_matmul_precision() == ("high" if matmul else "highest")


def test_restores_after_an_error() -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError), precision("tf32"):
        1 / 0  # noqa: B018
    assert settings() == before


def test_may_be_nested_with_itself_only() -> None:
    before = settings()
    with precision("tf32"):
        with precision("tf32"):
            pass
        assert uses_tf32() == [True] * 3
        with pytest.raises(InvalidInputError), precision("fp32"):
            pass
        with precision("bf16"):
            assert uses_tf32() == [True] * 3
    assert settings() == before


def test_threads_keep_each_others_precision() -> None:
    before, wrong = settings(), []

    def work(name: str) -> None:
        for _ in range(300):
            with precision(name):
                for _ in range(3):
                    if uses_tf32() != [name == "tf32"] * 3:
                        wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("fp32", "tf32", "fp32", "tf32")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    assert settings() == before


def test_threads_of_one_precision_do_not_wait_for_one_another() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with precision("fp32"):
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    with precision("fp32"):
        thread.start()
        assert inside.wait(60)
    assert uses_tf32() == [False] * 3  # the other one is still inside
    leave.set()
    thread.join(60)
    assert uses_tf32() == [False, True, True]


def test_more_precise_buffers_of_a_cast_module_stay() -> None:
    module = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    module.register_buffer("frequencies", torch.tensor([1 / 3]))
    assert prepare(module, (), {}, "bf16")[0] is module
    cast = prepare(module, (), {}, "fp16")[0]
    assert {tensor.dtype for tensor in (*cast.parameters(), *cast.buffers())} == {torch.float16}


def test_a_module_without_values_is_cast_without_them() -> None:
    module = torch.nn.Linear(1 << 20, 1 << 20, device="meta")  # 4 TiB
    cast = prepare(module, (), {}, "bf16")[0]
    assert cast.weight.is_meta and cast.weight.dtype == torch.bfloat16
