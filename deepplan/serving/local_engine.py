"""The engine that serves models in this process: registers them, and turns requests into answers."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.devices import Devices, resolve_devices
from deepplan.engine.precision import precision
from deepplan.engine.store import Store
from deepplan.errors import (
    DeviceError,
    InvalidInputError,
    OverloadedError,
    RunError,
    UnavailableError,
    UnknownNameError,
)
from deepplan.serving.deployment import Deployment
from deepplan.serving.gpu_memory import weights_budget_bytes
from deepplan.serving.hosting import HostedModel, host_model, partitions
from deepplan.serving.inference import EngineStatus, GpuStatus, Inference, ModelMetadata, TensorData
from deepplan.serving.kept_memory import KeptMemory
from deepplan.serving.tensors import to_data, to_tensor

_DTYPES_OF_FP32 = frozenset({"fp32", "tf32"})  # the same tensors, of which products are computed differently

Report = Callable[[str, float], None]  # what was done, and the share of all work


class LocalEngine:
    """An `Engine` (`deepplan.serving.inference`). Made, started and used in one event loop; `close` it in the end.

    Plans and profiles lie in `folder` (None: where `deepplan.engine.store` says). With `kept`, models are looked for
    in that memory first, and left there for the next engine.
    """

    def __init__(self, deployment: Deployment, folder: Path | None = None, kept: KeptMemory | None = None) -> None:
        self.deployment = deployment
        self._kept = kept
        self._store = Store(folder)
        self._hosted: list[HostedModel] = []
        self._models: dict[str, ModelMetadata] = {}
        self._instances: dict[str, tuple[int, HostedModel]] = {}
        self._devices: Devices | None = None
        self._gpu_bytes = 0
        self._server: _core.ModelServer | None = None
        self._precision = ExitStack()
        self._closing = threading.Event()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[_core.Answer]] = {}
        self._running: dict[int, HostedModel] = {}  # what will be answered, whether or not somebody still waits for it
        self._path_bytes: Counter[str] = Counter()

    @property
    def ready(self) -> bool:
        return self._server is not None

    @property
    def models(self) -> Mapping[str, ModelMetadata]:
        return MappingProxyType(self._models)

    @property
    def hosted(self) -> Sequence[HostedModel]:
        """The models with what was measured of them, in the order of the deployment."""
        return tuple(self._hosted)

    @property
    def gpu_bytes(self) -> int:
        """What models may take of each GPU, without what running them needs besides."""
        return self._gpu_bytes

    async def start(self, report: Report = lambda done, share: None) -> None:
        """Brings every model into pinned host memory; cancelled, it ends with the model at hand, and the engine can
        only be closed. `report` is called in another thread. Raises DeepPlanError."""
        # In a thread that ends then: what torch keeps for each thread (handles of libraries, with their workspaces)
        # goes on to those that run models.
        executor = ThreadPoolExecutor(max_workers=1)
        try:
            await asyncio.get_running_loop().run_in_executor(executor, self._register, report)
        except asyncio.CancelledError:
            self._closing.set()
            raise
        finally:
            await asyncio.to_thread(executor.shutdown)
        if self._closing.is_set():
            await asyncio.to_thread(self._give_back)  # what was registered since it was closed
        elif self._devices is not None:
            self._serve(self._devices)

    async def infer(self, model: str, inputs: Sequence[TensorData], traceparent: str | None = None) -> Inference:
        if self._server is None:
            raise UnavailableError("models are still being registered; try again when the server is ready")
        index, hosted = self._find(model)
        request = next(self._numbers)
        tensors = [to_tensor(tensor) for tensor in inputs]
        answered = self._waiting[request] = asyncio.get_running_loop().create_future()
        try:
            admission = self._server.submit(request, index, tensors)
            if not admission.accepted:
                raise self._overloaded(model, admission.retry_after_ms)
            self._running[request] = hosted
            try:
                answer = await answered
            except asyncio.CancelledError:
                if self._server is not None and self._server.cancel(request):
                    del self._running[request]
                raise
        finally:
            del self._waiting[request]
        if answer.device_failed:
            raise DeviceError(f"{model} failed, and its GPU with it: {answer.error}")
        if answer.error:
            raise RunError(f"{model} failed: {answer.error}")
        return Inference(
            outputs=tuple(to_data(spec, tensor) for spec, tensor in zip(hosted.outputs, answer.outputs, strict=True)),
            gpu=answer.gpu,
            cold=answer.cold,
            batch_size=answer.batch_size,
            leads_batch=answer.leads_batch,
            queue_ms=answer.queue_ms,
            run_ms=answer.run_ms,
        )

    async def evict(self, model: str) -> None:
        index, _ = self._find(model)
        if self._server is not None:
            self._server.evict(index)

    async def change(self, *, gpu_memory_bytes: int | None, objective_ms: float | None) -> None:
        """Goes on with another memory for models and another objective, with nothing on the GPUs: for measurements
        that would else register the same models again. Raises InvalidInputError while requests are under way."""
        if self._running or self._devices is None:
            raise InvalidInputError(f"{len(self._running)} requests are under way; wait for their answers")
        await self._halt()
        self.deployment = dataclasses.replace(
            self.deployment, gpu_memory_bytes=gpu_memory_bytes, objective_ms=objective_ms
        )
        self._serve(self._devices)

    async def status(self) -> EngineStatus:
        arena = await asyncio.to_thread(_core.arena_stats)  # which waits for who pins memory
        if self._server is None or self._devices is None:
            return EngineStatus((), arena.reserved_bytes, arena.used_bytes, 0, {}, 0)
        status = self._server.status()
        names = list(self._instances)
        gpus = tuple(
            GpuStatus(
                name=name,
                memory_budget_bytes=self._gpu_bytes,
                memory_used_bytes=status.resident_bytes[gpu],
                resident=tuple(names[i] for i, where in enumerate(status.gpu_of) if where == gpu),
                queued=status.queued[gpu],
            )
            for gpu, name in enumerate(self._devices.names)
        )
        paths = {path: self._path_bytes[path] for path in ("pcie", "nvlink", "zero_copy")}
        return EngineStatus(gpus, arena.reserved_bytes, arena.used_bytes, status.counters.evictions, paths, 0)

    @property
    def overdue_s(self) -> float:
        """For how long a run has taken more than a hundred times what was predicted; 0 where none does."""
        return 0.0 if self._server is None else max(self._server.status().overdue_ms) / 1e3

    async def close(self) -> None:
        """Ends what runs; whoever still waits gets UnavailableError. Gives device and pinned memory back."""
        self._closing.set()
        for answered in self._waiting.values():
            if not answered.done():
                answered.set_exception(UnavailableError("the engine is being closed"))
        await self._halt()
        await asyncio.to_thread(self._give_back)

    async def _halt(self) -> None:
        """Takes no more requests, ends what runs, and leaves nothing on the GPUs."""
        server, self._server = self._server, None
        if server is not None:
            asyncio.get_running_loop().remove_reader(server.fileno())
            await asyncio.to_thread(server.stop)
            self._precision.close()
        self._running.clear()
        await asyncio.to_thread(self._evict_all)

    def _evict_all(self) -> None:
        for hosted in self._hosted:
            for by_gpu in hosted.sessions:
                for sessions in by_gpu:
                    sessions[0][1].evict()

    def _give_back(self) -> None:
        """All that was registered, in host memory too."""
        captured = [runs for hosted in self._hosted for runs in hosted.captures]
        self._hosted.clear()
        self._instances.clear()
        for runs in captured:
            runs.forget()
        for name in () if self._devices is None else self._devices.names:
            machine.target(name).set_budget(0)
            machine.target(name).trim()
        _core.trim_arena()

    def _overloaded(self, model: str, retry_after_ms: float) -> OverloadedError:
        objective = f"its objective of {self.deployment.objective_ms:g} ms"
        if math.isinf(retry_after_ms):
            return OverloadedError(f"{model} takes longer by itself than {objective}; serve it with another", math.inf)
        return OverloadedError(
            f"{model} would be answered after {objective}; try again in {retry_after_ms:.0f} ms", retry_after_ms / 1e3
        )

    def _find(self, model: str) -> tuple[int, HostedModel]:
        try:
            return self._instances[model]
        except KeyError:
            raise UnknownNameError(f"no model {model!r:.80} is served here") from None

    def _register(self, report: Report) -> None:
        deployment = self.deployment
        devices = self._devices = resolve_devices(deployment.devices)
        by_gpu = partitions(devices, deployment.pt)
        adopted = {} if self._kept is None else self._kept.adopt(deployment.models, by_gpu)
        for number, served in enumerate(deployment.models):
            if self._closing.is_set():
                return
            begin = time.perf_counter()
            hosted = adopted.get(number) or host_model(served, deployment, by_gpu, self._store)
            self._hosted.append(hosted)
            if self._kept is not None and number not in adopted:
                self._kept.add(number, hosted)
            metadata = {name: ModelMetadata(name, hosted.inputs, hosted.outputs) for name in served.instance_names()}
            for name in metadata:
                self._instances[name] = len(self._instances), hosted
            self._models = {**self._models, **metadata}  # whoever goes through them meanwhile has the old ones
            report(
                f"{served.served_name}: {len(metadata)} in host memory in {time.perf_counter() - begin:.1f} s",
                (number + 1) / len(deployment.models),
            )
        self._check_precisions()

    def _serve(self, devices: Devices) -> None:
        """Begins to take requests."""
        self._gpu_bytes = weights_budget_bytes(devices, self.deployment.gpu_memory_bytes, self._hosted)
        for name in devices.names:
            pool = machine.target(name)
            pool.trim()  # what was measured, or served until now, may have taken more
            pool.set_budget(self._gpu_bytes + pool.charged_bytes)  # what is charged was taken off before
        dtype = next((hosted.dtype for hosted in self._hosted if hosted.dtype in _DTYPES_OF_FP32), None)
        self._server = self._dispatch(partitions(devices, self.deployment.pt))
        self._precision.enter_context(precision(dtype))
        asyncio.get_running_loop().add_reader(self._server.fileno(), self._settle)

    def _dispatch(self, by_gpu: Sequence[Devices]) -> _core.ModelServer:
        deployment = self.deployment
        names = [devices.target for devices in by_gpu]
        pinned = [hosted.served.pinned for hosted in self._hosted for _ in hosted.sessions]
        return _core.ModelServer(
            [hosted.costs.native() for hosted in self._hosted],
            [model for model, hosted in enumerate(self._hosted) for _ in hosted.sessions],
            _core.SchedulerOptions(
                len(names), self._gpu_bytes, deployment.scheduler_objective_ms, deployment.pt, pinned
            ),
            [instance for hosted in self._hosted for instance in hosted.sessions],
            [[_index(devices.names, other) for other in names] for devices in by_gpu],
        )

    def _check_precisions(self) -> None:
        """torch has one switch for products of fp32 tensors, for all that run at a time."""
        used = {hosted.dtype for hosted in self._hosted} & _DTYPES_OF_FP32
        if len(used) > 1:
            raise InvalidInputError("models in fp32 and in tf32 cannot be served side by side; give all the same dtype")

    def _settle(self) -> None:
        """Passes answers on: called by the event loop when there are any."""
        assert self._server is not None
        for answer in self._server.take_answers():
            hosted = self._running.pop(answer.request)
            if answer.cold and answer.leads_batch and not answer.error:
                moved = hosted.path_bytes(answer.links)
                self._path_bytes.update(pcie=moved.pcie, nvlink=moved.nvlink, zero_copy=moved.zero_copy)
            answered = self._waiting.get(answer.request)
            if answered is not None and not answered.done():
                answered.set_result(answer)


def _index(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else -1
