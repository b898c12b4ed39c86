"""Models served in a process of their own: requests."""

import asyncio
import dataclasses
import math
from pathlib import Path

import pytest
import torch
from local_lookup import ROWS, assert_right, rows_input
from process_lookup import run

from deepplan.errors import InvalidInputError, OverloadedError, RunError, UnknownNameError
from deepplan.serving.deployment import Deployment
from deepplan.serving.inference import Inference, TensorData
from deepplan.serving.process_engine import ProcessEngine


def test_requests_are_answered_as_in_this_process(deployed: Deployment, store: Path, lookup: torch.nn.Module) -> None:
    async def use(engine: ProcessEngine) -> None:
        assert engine.ready and list(engine.models) == ["mine-0", "mine-1"]
        spec = engine.models["mine-1"].inputs[0]
        assert (spec.name, spec.datatype, spec.shape) == ("rows", "INT64", (1, 4))
        for cold in (True, False):
            answer = await engine.infer("mine-1", rows_input(3, 1, 4, 1), "00-1-2-01")
            assert_right(answer, lookup, 3, 1, 4, 1)
            assert answer.cold is cold and answer.run_ms > 0
        status = await engine.status()
        assert status.gpus[0].resident == ("mine-1",) and status.restarts == 0 and status.pinned_used_bytes > 0
        await engine.evict("mine-1")
        assert (await engine.infer("mine-1", rows_input(3, 1, 4, 1))).cold
        asked = [(index % ROWS, 1, 2, 3) for index in range(300)]
        answers = await asyncio.gather(*(engine.infer("mine-0", rows_input(*rows)) for rows in asked))
        for rows, answer in zip(asked, answers):
            assert_right(answer, lookup, *rows)

    run(lambda: ProcessEngine(deployed, store), use)


def test_errors_come_back_as_they_were_raised(deployed: Deployment, store: Path, lookup: torch.nn.Module) -> None:
    async def use(engine: ProcessEngine) -> None:
        with pytest.raises(UnknownNameError, match="mine-7"):
            await engine.infer("mine-7", [])
        with pytest.raises(UnknownNameError, match="mine-7"):
            await engine.evict("mine-7")
        with pytest.raises(RunError, match="mine-0 failed"):
            await engine.infer("mine-0", rows_input(1, 2, 3, ROWS))
        with pytest.raises(InvalidInputError, match="size of tensor rows"):
            await engine.infer("mine-0", [TensorData("rows", "INT64", (1, 4), b"short")])
        assert_right(await engine.infer("mine-1", rows_input(1, 2, 3, 4)), lookup, 1, 2, 3, 4)

    run(lambda: ProcessEngine(deployed, store), use)


def test_what_would_be_late_is_refused_with_when_to_come_again(deployed: Deployment, store: Path) -> None:
    async def use(engine: ProcessEngine) -> None:
        with pytest.raises(OverloadedError, match="takes longer by itself than its objective") as refused:
            await engine.infer("mine-0", rows_input(1, 2, 3, 4))
        assert refused.value.retry_after_s == math.inf

    strict = dataclasses.replace(deployed, objective_ms=1e-3)
    run(lambda: ProcessEngine(strict, store), use)


def test_who_gives_up_is_given_up_there(deployed: Deployment, store: Path, lookup: torch.nn.Module) -> None:
    async def use(engine: ProcessEngine) -> None:
        calls = [asyncio.ensure_future(engine.infer("mine-0", rows_input(1, 2, 3, 4))) for _ in range(2000)]
        await asyncio.sleep(0)
        for call in calls[5:]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, Inference) for answer in answers[:5])
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[5:])
        assert (await engine.status()).gpus[0].queued == 0
        assert_right(await engine.infer("mine-0", rows_input(4, 3, 2, 1)), lookup, 4, 3, 2, 1)

    run(lambda: ProcessEngine(deployed, store), use)
