"""Models served in this process, on host devices and (marked cuda) on a GPU."""

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import deepplan
from deepplan import _core, models
from deepplan.engine import machine
from deepplan.errors import InvalidInputError, OverloadedError, RunError, UnavailableError, UnknownNameError
from deepplan.serving.deployment import Deployment, ServedSource
from deepplan.serving.inference import Inference, TensorData
from deepplan.serving.local_engine import LocalEngine

ROWS, COLUMNS = 64, 512


class Lookup(torch.nn.Module):
    """Rows of a table, mixed: a table read in place, layers that are loaded, an error for a row that is not there."""

    zoo_name = "lookup"

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(ROWS, COLUMNS)
        self.first = torch.nn.Linear(COLUMNS, COLUMNS)
        self.second = torch.nn.Linear(COLUMNS, COLUMNS)
        self.example_inputs = torch.zeros(1, 4, dtype=torch.int64)

    def forward(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        mixed = self.second(torch.relu(self.first(self.table(rows))))
        return {"mixed": mixed, "sums": mixed.sum(-1)}


@pytest.fixture(params=["host:0", pytest.param("cuda:0", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """Also the only model of the zoo, as "lookup"."""
    torch.manual_seed(0)
    module = Lookup().eval().requires_grad_(False)
    monkeypatch.setattr(models, "names", lambda: ("lookup",))
    monkeypatch.setattr(models, "default_dtype", lambda name: "fp32")
    monkeypatch.setattr(models, "build", lambda name, weights=None: module)
    return module


def deployment(device: str, **settings: object) -> Deployment:
    values: dict[str, object] = {"models": (ServedSource("lookup", instances=3),), "devices": (device,), **settings}
    return Deployment(**values)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(deployed: Deployment, folder: Path) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(deployed, folder)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


def run(deployed: Deployment, folder: Path, use: Callable[[LocalEngine], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving(deployed, folder) as engine:
            await use(engine)

    asyncio.run(main())


def rows_input(*rows: int) -> list[TensorData]:
    return [TensorData("rows", "INT64", (1, len(rows)), np.array(rows, np.int64).tobytes())]


def outputs_of(answer: Inference) -> dict[str, torch.Tensor]:
    return {
        output.name: torch.frombuffer(bytearray(output.data), dtype=torch.float32).reshape(output.shape)
        for output in answer.outputs
    }


def assert_right(answer: Inference, module: torch.nn.Module, *rows: int) -> None:
    expected, given = module(torch.tensor([rows])), outputs_of(answer)
    assert given.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(given[name], tensor)


def test_the_first_request_is_cold_and_the_next_are_warm(device: str, module: torch.nn.Module, tmp_path: Path) -> None:
    async def use(engine: LocalEngine) -> None:
        assert engine.ready and list(engine.models) == ["lookup-0", "lookup-1", "lookup-2"]
        metadata = engine.models["lookup-1"]
        assert [(spec.name, spec.datatype, spec.shape) for spec in metadata.inputs] == [("rows", "INT64", (1, 4))]
        assert [(spec.name, spec.shape) for spec in metadata.outputs] == [("mixed", (1, 4, COLUMNS)), ("sums", (1, 4))]
        for cold in (True, False, False):
            answer = await engine.infer("lookup-1", rows_input(3, 1, 4, 1))
            assert_right(answer, module, 3, 1, 4, 1)
            assert answer.cold is cold
        status = await engine.status()
        assert status.gpus[0].resident == ("lookup-1",)
        assert 0 < status.gpus[0].memory_used_bytes <= status.gpus[0].memory_budget_bytes
        assert status.path_bytes["pcie"] >= 2 * COLUMNS * COLUMNS * 4
        await engine.evict("lookup-1")
        assert (await engine.infer("lookup-1", rows_input(3, 1, 4, 1))).cold

    run(deployment(device), tmp_path, use)


def test_models_that_do_not_fit_together_take_turns(module: torch.nn.Module, tmp_path: Path) -> None:
    async def use(engine: LocalEngine) -> None:
        assert engine.hosted[0].costs.device_bytes <= engine.gpu_bytes < 2 * engine.hosted[0].costs.device_bytes
        for _ in range(3):
            for name in engine.models:
                answer = await engine.infer(name, rows_input(5, 6, 7, 8))
                assert answer.cold
                assert_right(answer, module, 5, 6, 7, 8)
        assert (await engine.status()).evictions == 8

    run(deployment("host:0", gpu_memory_bytes=6 << 20), tmp_path, use)


def test_a_pinned_model_is_brought_in_once(module: torch.nn.Module, tmp_path: Path) -> None:
    served = (ServedSource("lookup", name="stays", pinned=True), ServedSource("lookup", instances=2))

    async def use(engine: LocalEngine) -> None:
        (gpu,) = (await engine.status()).gpus
        assert (gpu.memory_used_bytes, gpu.resident) == (0, ())
        answers = [await engine.infer(name, rows_input(5, 6, 7, 8)) for name in list(engine.models) * 2]
        assert [answer.cold for answer in answers] == [True, True, True, False, True, True]

    run(deployment("host:0", models=served, gpu_memory_bytes=10 << 20), tmp_path, use)


def test_requests_that_come_together_run_together(device: str, module: torch.nn.Module, tmp_path: Path) -> None:
    served = ServedSource("lookup", batch_sizes=(1, 4))

    async def use(engine: LocalEngine) -> None:
        asked = [(index, index + 1, 0, 9) for index in range(30)]
        answers = [await engine.infer("lookup", rows_input(*asked[0]))]  # alone
        answers += await asyncio.gather(*(engine.infer("lookup", rows_input(*rows)) for rows in asked[1:]))
        for rows, answer in zip(asked, answers):
            assert_right(answer, module, *rows)
        assert answers[0].batch_size == 1
        assert {answer.batch_size for answer in answers} == {1, 4}
        assert sum(answer.leads_batch for answer in answers) < 30

    run(deployment(device, models=(served,)), tmp_path, use)


def test_a_call_that_fails_fails_alone(module: torch.nn.Module, tmp_path: Path) -> None:
    async def use(engine: LocalEngine) -> None:
        good, bad = await asyncio.gather(
            engine.infer("lookup-0", rows_input(1, 2, 3, 4)),
            engine.infer("lookup-1", rows_input(1, 2, 3, ROWS)),
            return_exceptions=True,
        )
        assert isinstance(good, Inference) and isinstance(bad, RunError)
        assert_right(await engine.infer("lookup-1", rows_input(1, 2, 3, 4)), module, 1, 2, 3, 4)

    run(deployment("host:0"), tmp_path, use)


def test_a_call_of_another_signature_is_refused(module: torch.nn.Module, tmp_path: Path) -> None:
    served = ServedSource("lookup", batch_sizes=(1, 2))
    two = TensorData("rows", "INT64", (2, 4), np.arange(8, dtype=np.int64).tobytes())
    none = TensorData("rows", "INT64", (0, 4), b"")

    async def use(engine: LocalEngine) -> None:
        good, *bad = await asyncio.gather(
            engine.infer("lookup", rows_input(1, 2, 3, 4)),
            *(engine.infer("lookup", inputs) for inputs in ([two], [none], [], [two, two], rows_input(1, 2, 3))),
            return_exceptions=True,
        )
        assert isinstance(good, Inference) and all(isinstance(error, InvalidInputError) for error in bad)
        assert_right(good, module, 1, 2, 3, 4)

    run(deployment("host:0", models=(served,)), tmp_path, use)


def test_a_call_that_fails_spares_those_it_runs_with(module: torch.nn.Module, tmp_path: Path) -> None:
    async def use(engine: LocalEngine) -> None:
        asked = [(1, 2, 3, ROWS if index % 5 == 4 else index) for index in range(30)]
        answers = await asyncio.gather(
            *(engine.infer("lookup", rows_input(*rows)) for rows in asked), return_exceptions=True
        )
        for rows, answer in zip(asked, answers):
            if rows[-1] == ROWS:
                assert isinstance(answer, RunError)
            else:
                assert isinstance(answer, Inference)
                assert_right(answer, module, *rows)

    run(deployment("host:0", models=(ServedSource("lookup", batch_sizes=(1, 4)),)), tmp_path, use)


def test_what_would_be_late_is_refused(module: torch.nn.Module, tmp_path: Path) -> None:
    async def use(engine: LocalEngine) -> None:
        costs = engine.hosted[0].costs
        objective_ms = costs.cold_ms[0][0] + 20 * costs.warm_ms[0]  # however slow it is here
        await engine.change(gpu_memory_bytes=None, objective_ms=objective_ms)
        answers = await asyncio.gather(
            *(engine.infer("lookup-0", rows_input(1, 2, 3, 4)) for _ in range(300)), return_exceptions=True
        )
        refused = [answer for answer in answers if isinstance(answer, OverloadedError)]
        assert 0 < len(refused) < 300
        assert all(0 < error.retry_after_s < 10 for error in refused)
        assert all(isinstance(answer, (Inference, OverloadedError)) for answer in answers)

    run(deployment("host:0"), tmp_path, use)


def test_who_gives_up_frees_the_place(module: torch.nn.Module, tmp_path: Path) -> None:
    async def use(engine: LocalEngine) -> None:
        await engine.infer("lookup-0", rows_input(1, 2, 3, 4))
        calls = [asyncio.ensure_future(engine.infer("lookup-0", rows_input(1, 2, 3, 4))) for _ in range(50)]
        await asyncio.sleep(0)
        for call in calls[5:]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, Inference) for answer in answers[:5])
        assert (await engine.status()).gpus[0].queued == 0
        assert_right(await engine.infer("lookup-0", rows_input(4, 3, 2, 1)), module, 4, 3, 2, 1)

    run(deployment("host:0"), tmp_path, use)


def test_several_devices_share_the_work_and_lend_links(module: torch.nn.Module, tmp_path: Path) -> None:
    async def use(engine: LocalEngine) -> None:
        names = list(engine.models)
        answers = await asyncio.gather(*(engine.infer(name, rows_input(1, 2, 3, 4)) for name in names * 3))
        for answer in answers:
            assert_right(answer, module, 1, 2, 3, 4)
        assert {answer.gpu for answer in answers} == {0, 1}
        costs = engine.hosted[0].costs
        assert len(costs.cold_ms[0]) == 2
        ((beside_the_other,),) = costs.crowded_ms[0]  # which leaves one link
        assert beside_the_other >= costs.cold_ms[0][0]

    run(deployment("host:0", devices=("host:0", "host:1"), pt=2), tmp_path, use)


def test_an_exported_folder_is_served(module: torch.nn.Module, tmp_path: Path) -> None:
    plan = deepplan.plan(module, devices=["host:0"])
    with deepplan.load(module, plan) as session:
        session.save(tmp_path / "mine")

    async def use(engine: LocalEngine) -> None:
        assert_right(await engine.infer("mine", rows_input(1, 2, 3, 4)), module, 1, 2, 3, 4)

    run(deployment("host:0", models=(ServedSource(str(tmp_path / "mine")),)), tmp_path, use)


def test_before_and_after_nothing_is_answered(module: torch.nn.Module, tmp_path: Path) -> None:
    async def main() -> None:
        engine = LocalEngine(deployment("host:0"), tmp_path)
        assert not engine.ready and not engine.models
        with pytest.raises(UnavailableError):
            await engine.infer("lookup-0", [])
        await engine.start()
        with pytest.raises(UnknownNameError, match="lookup-7"):
            await engine.infer("lookup-7", [])
        await engine.close()
        with pytest.raises(UnavailableError):
            await engine.infer("lookup-0", rows_input(1, 2, 3, 4))

    asyncio.run(main())


HALTS: tuple[Callable[[LocalEngine], Coroutine[None, None, None]], ...] = (
    lambda engine: engine.close(),
    lambda engine: engine.change(gpu_memory_bytes=None, objective_ms=None),
)


@pytest.mark.parametrize("halt", HALTS, ids=("close", "change"))
def test_nothing_is_taken_while_it_halts(
    module: torch.nn.Module, tmp_path: Path, halt: Callable[[LocalEngine], Coroutine[None, None, None]]
) -> None:
    async def main() -> None:
        async with serving(deployment("host:0"), tmp_path) as engine:
            halting = asyncio.ensure_future(halt(engine))
            await asyncio.sleep(0)
            assert not engine.ready
            calls = [engine.infer(name, rows_input(1, 2, 3, 4)) for name in engine.models]  # at once: it ends soon
            answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
            assert all(isinstance(answer, UnavailableError) for answer in answers)
            await halting

    asyncio.run(main())


@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_registration_ends_early(module: torch.nn.Module, tmp_path: Path, how: str) -> None:
    served = tuple(ServedSource("lookup", name=f"m{number}") for number in range(9))

    async def main() -> None:
        engine, loop = LocalEngine(deployment("host:0", models=served), tmp_path), asyncio.get_running_loop()
        first = asyncio.Event()

        def report(done: str, share: float) -> None:
            loop.call_soon_threadsafe(first.set)

        starting = asyncio.ensure_future(engine.start(report))
        await first.wait()
        if how == "cancelled":
            starting.cancel()
        else:
            await engine.close()
        await asyncio.wait((starting,))
        assert starting.cancelled() is (how == "cancelled")
        assert len(engine.models) < 9 and not engine.ready
        await engine.close()
        assert not engine.hosted

    asyncio.run(main())


def test_who_waits_as_it_is_closed_is_told(module: torch.nn.Module, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(deployment("host:0"), tmp_path) as engine:
            calls = [asyncio.ensure_future(engine.infer("lookup-0", rows_input(1, 2, 3, 4))) for _ in range(50)]
            await asyncio.sleep(0)
            await engine.close()
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, UnavailableError)

    asyncio.run(main())


def test_python_can_end_with_an_engine_left_open(tmp_path: Path) -> None:
    program = """
import asyncio, pathlib
from deepplan.serving.deployment import Deployment, ServedSource
from deepplan.serving.local_engine import LocalEngine

async def main():
    global engine
    engine = LocalEngine(Deployment(models=(ServedSource("mine"),), devices=("host:0",)), pathlib.Path("plans"))
    await engine.start()

asyncio.run(main())
"""
    module = Lookup().eval().requires_grad_(False)
    with deepplan.load(module, deepplan.plan(module, devices=["host:0"])) as session:
        session.save(tmp_path / "mine")
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models": (ServedSource("lookup"), ServedSource("lookup", name="other", dtype="tf32"))}, "fp32 and in tf32"),
        ({"gpu_memory_bytes": 1000}, "takes [0-9]+ bytes of a GPU; of 1000 bytes there"),
    ],
)
def test_what_cannot_be_served_is_refused(
    module: torch.nn.Module, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    async def main() -> None:
        async with serving(dataclasses.replace(deployment("host:0"), **change), tmp_path):  # type: ignore[arg-type]
            pass

    with pytest.raises(InvalidInputError, match=said):
        asyncio.run(main())


def test_what_models_gave_back_is_free(module: torch.nn.Module, tmp_path: Path) -> None:
    free_bytes = _core.memory_info("host:0")[0]

    async def use(engine: LocalEngine) -> None:
        for _ in range(2):
            assert engine.gpu_bytes == pytest.approx(0.9 * free_bytes, abs=1 << 20)
            for name in engine.models:
                await engine.infer(name, rows_input(1, 2, 3, 4))
            assert machine.target("host:0").reserved_bytes >= 8 << 20
            await engine.change(gpu_memory_bytes=None, objective_ms=None)

    run(deployment("host:0"), tmp_path, use)


def test_limits_can_be_changed_between_requests(module: torch.nn.Module, tmp_path: Path) -> None:
    async def use(engine: LocalEngine) -> None:
        for name in engine.models:
            await engine.infer(name, rows_input(1, 2, 3, 4))
        assert len((await engine.status()).gpus[0].resident) == 3
        call = asyncio.ensure_future(engine.infer("lookup-0", rows_input(1, 2, 3, 4)))
        await asyncio.sleep(0)
        with pytest.raises(InvalidInputError, match="1 requests are under way"):
            await engine.change(gpu_memory_bytes=6 << 20, objective_ms=None)
        await call
        await engine.change(gpu_memory_bytes=6 << 20, objective_ms=None)
        for name in engine.models:
            answer = await engine.infer(name, rows_input(1, 2, 3, 4))
            assert answer.cold
            assert_right(answer, module, 1, 2, 3, 4)
        assert len((await engine.status()).gpus[0].resident) == 1

    run(deployment("host:0"), tmp_path, use)
