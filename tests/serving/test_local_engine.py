"""Requests to models served in this process, on host devices and (marked cuda) on a GPU."""

import asyncio
from pathlib import Path

import numpy as np
import torch
from local_lookup import COLUMNS, ROWS, assert_right, deployment, rows_input, run

import deepplan
from deepplan.errors import InvalidInputError, OverloadedError, RunError
from deepplan.serving.deployment import ServedSource
from deepplan.serving.inference import Inference, TensorData
from deepplan.serving.local_engine import LocalEngine


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


def test_nothing_that_was_measured_stays(device: str, module: torch.nn.Module, tmp_path: Path) -> None:
    async def use(engine: LocalEngine) -> None:
        (hosted,) = engine.hosted
        sessions = [session for by_gpu in hosted.sessions for sessions in by_gpu for _, session in sessions]
        assert len(sessions) == 20
        assert not any(session.is_resident for session in sessions)

    run(deployment(device, models=(ServedSource("lookup", instances=10, batch_sizes=(1, 4)),)), tmp_path, use)


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
        hosted, costs = engine.hosted[0], engine.hosted[0].costs
        assert [len(plan.links) for plan in hosted.plans] == [1, 2]
        assert hosted.path_bytes(1).nvlink == 0 and hosted.path_bytes(1).pcie == hosted.path_bytes(2).pcie
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
