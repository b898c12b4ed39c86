"""The clients of a serving soak: they know what is right, and some of them hang up."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from types import TracebackType

import aiohttp
import numpy as np
import torch

from serving_soak_server import COLUMNS, make_model

_INPUTS = 16
_CAPACITY_S, _AT_A_TIME = 3.0, 32
_MOST_UNDER_WAY = 500  # more are not sent: a machine that has become slower is loaded, not buried
_TIMEOUT_S = 120.0  # an engine that was killed registers its models first
_TOLERANCE = 1e-3  # devices multiply in another order than this process
_OUTCOMES = ("right", "wrong", "refused", "lost", "left", "not_sent")
_BODY_SPLIT = "Inference-Header-Content-Length"


class SoakClient:
    """Calls random instances with inputs whose outputs it has computed itself."""

    def __init__(self, url: str, model: str, instances: int, seed: int) -> None:
        self._names = [f"{model}-{index}" for index in range(instances)]
        self._url = url
        self._random = random.Random(seed)
        inputs = torch.from_numpy(np.random.default_rng(seed).standard_normal((_INPUTS, 1, COLUMNS), np.float32))
        module = make_model(seed)
        self._bodies = [_body(tensor.numpy()) for tensor in inputs]
        self._expected = [module(tensor).numpy() for tensor in inputs]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)
        )
        self._counts: Counter[str] = Counter()
        self._under_way: set[asyncio.Task[None]] = set()
        self.reasons: Counter[str] = Counter()  # for which requests were refused or lost

    async def __aenter__(self) -> SoakClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def find_capacity(self) -> float:
        """Answers a second to so many clients that each wait for theirs."""
        answered = 0
        end = time.perf_counter() + _CAPACITY_S

        async def ask_again() -> None:
            nonlocal answered
            while time.perf_counter() < end:
                await self._ask()
                answered += 1

        await asyncio.gather(*(ask_again() for _ in range(_AT_A_TIME)))
        self._counts.clear()
        self.reasons.clear()
        return answered / _CAPACITY_S

    async def soak(self, rate_per_s: float, duration_s: float, leaving: float) -> dict[str, int]:
        """Poisson arrivals, whatever becomes of those before; returns how many ended how."""
        begin = due = time.perf_counter()
        while due - begin < duration_s:
            due += self._random.expovariate(rate_per_s)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if len(self._under_way) >= _MOST_UNDER_WAY:
                self._counts["not_sent"] += 1
                continue
            task = asyncio.ensure_future(self._ask())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            if self._random.random() < leaving:
                asyncio.get_running_loop().call_later(self._random.uniform(0, 0.02), task.cancel)
        await self.settle()
        return {name: self._counts[name] for name in _OUTCOMES}

    async def settle(self) -> None:
        """Waits for every answer, and until the server is ready."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        for _ in range(int(_TIMEOUT_S)):
            async with self._session.get(f"{self._url}/v2/health/ready") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(1)

    async def restarts(self) -> int:
        """What the server says of its engine."""
        async with self._session.get(f"{self._url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return int(
            float(next(line.split()[-1] for line in lines if line.startswith("deepplan_engine_restarts_total ")))
        )

    async def _ask(self) -> None:
        which, name = self._random.randrange(_INPUTS), self._random.choice(self._names)
        body, headers = self._bodies[which]
        try:
            async with self._session.post(f"{self._url}/v2/models/{name}/infer", data=body, headers=headers) as answer:
                content = await answer.read()
        except asyncio.CancelledError:
            self._counts["left"] += 1
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            self._counts["lost"] += 1
            self.reasons[f"{type(error).__name__}: {error}"] += 1
        else:
            self._counts[self._verdict(answer, content, which)] += 1

    def _verdict(self, answer: aiohttp.ClientResponse, content: bytes, which: int) -> str:
        if answer.status != 200:
            self.reasons[f"{answer.status}: {content[:200].decode(errors='replace')}"] += 1
            return "refused" if answer.status in (429, 503) else "lost"
        output = np.frombuffer(content[int(answer.headers[_BODY_SPLIT]) :], np.float32).reshape(1, COLUMNS)
        return "right" if np.allclose(output, self._expected[which], rtol=_TOLERANCE, atol=_TOLERANCE) else "wrong"


def _body(array: np.ndarray) -> tuple[bytes, dict[str, str]]:
    """A request in the protocol's binary form."""
    size = {"binary_data_size": array.nbytes}
    tensor = {"name": "input", "shape": list(array.shape), "datatype": "FP32", "parameters": size}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {_BODY_SPLIT: str(len(head)), "Content-Type": "application/octet-stream"}
    return head + array.tobytes(), headers
