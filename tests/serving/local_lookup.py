"""A small model, and an engine that serves it in this process: what tests of `LocalEngine` share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import torch

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
