"""A loaded model: weights in pinned host memory, brought to the target by a plan whenever it is called cold."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import torch

from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.binding import execution_plan
from deepplan.engine.capturing import COLD, WARM, Captures, Kind
from deepplan.engine.devices import Devices
from deepplan.engine.filling import fill
from deepplan.engine.lending import detour, find_lenders
from deepplan.engine.measured import measured_timeline
from deepplan.engine.precision import precision
from deepplan.engine.source import Source
from deepplan.errors import InvalidInputError, OutOfMemoryError
from deepplan.export import nesting
from deepplan.export.graph import Graph
from deepplan.planning.plan import Plan
from deepplan.planning.timeline import Timeline


class Session:
    """Calls a model as the module itself is called, cold or warm; made by `deepplan.load`.

    Calls may come from several threads; they take turns. Inputs on the CPU are copied to the target. Outputs lie on
    the target, ordered on the caller's current stream there; a call does not wait for them.
    """

    def __init__(
        self,
        source: Source,
        plan: Plan,
        devices: Devices,
        *,
        release: bool = False,
        promote: bool = True,
        capture: bool = True,
    ) -> None:
        graph = source.captured.graph
        self._graph = graph
        self._plan = plan
        self._asked = devices
        self._lenders = find_lenders(devices)
        self._devices = self._lenders.devices
        self._name = source.name
        self._batch_size = source.batch_size
        self._precision = plan.dtype or source.dtype or None
        self._in_nesting = nesting.load(graph.in_spec)
        self._out_nesting = nesting.load(graph.out_spec)
        self._last_inputs: list[torch.Tensor] | None = None
        program = _core.Program(graph, devices.torch_target)
        binding = self._bind(plan)
        links = machine.links(self._devices)
        self._core: _core.Session | None = _core.Session(source.name, program, links, binding, promote)
        self._lock = threading.RLock()  # held over what a caller takes for one step and the runtime for several
        fill(self._core, source.captured, release=release)
        self._core.encode()  # what the plan says, if anything
        self._captures: Captures | None = None  # nothing can be captured on host devices
        if capture and not devices.is_host:
            self._captures = Captures(self._core, source.tensor_inputs(), devices.target, self._precision)
            self._captures.add(COLD, WARM)

    @property
    def plan(self) -> Plan:
        """The plan by which a cold call provisions the model."""
        return self._plan

    @property
    def graph(self) -> Graph:
        """The exported model."""
        return self._graph

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices whose links are used, the target first."""
        return self._devices.names

    @property
    def refused_links(self) -> Mapping[str, str]:
        """Helpers whose links are not used though they were asked for, and why: no memory there, or no way from there.

        What they were to bring comes over the other links.
        """
        return self._lenders.refusals

    @property
    def torch_target(self) -> str:
        """The device that runs the model, by torch's name."""
        return self._devices.torch_target

    @property
    def is_resident(self) -> bool:
        """Whether the next call is warm."""
        with self._lock:
            return self._runtime.is_resident

    @property
    def launch(self) -> str:
        """How calls reach the GPU: "graph", one launch for all kernels up to the next wait for weights, or "operators".

        What was captured follows the model wherever it comes to lie on the GPU; one for which that is not possible is
        launched operator by operator while it lies elsewhere.
        """
        return "graph" if self._captures is not None and COLD in self._captures.kinds else "operators"

    @property
    def launch_refusal(self) -> str | None:
        """Why calls could not be captured as a graph; None if they were, or nobody tried."""
        return self._captures.refusal if self._captures is not None else None

    @property
    def last_launch(self) -> str:
        """How the last call reached the GPU, as `launch` says it."""
        with self._lock:
            return "graph" if self._runtime.last_was_captured else "operators"

    @property
    def graph_bytes(self) -> int:
        """Device memory taken by what was captured; counted against the device's budget."""
        return self._captures.device_bytes if self._captures is not None else 0

    @property
    def pinned_bytes(self) -> int:
        """Pinned host memory that this model's weights take."""
        with self._lock:
            return self._runtime.host_bytes

    @property
    def crossing_bytes(self) -> int:
        """Bytes that a cold start brings over the links as copies: coded where groups are."""
        with self._lock:
            return self._runtime.crossing_bytes

    @property
    def device_bytes(self) -> int:
        """Device memory that its weights take while it is resident."""
        with self._lock:
            return self._runtime.resident_bytes

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model. Raises InvalidInputError for inputs of another nesting, shape, dtype or GPU than planned."""
        outputs = self.run_flat(self._flatten(args, kwargs))
        return nesting.unflatten(self._out_nesting, iter(outputs))

    def run_flat(self, inputs: list[torch.Tensor]) -> list[object]:
        """The same on the flattened tensors of a call, in the graph's order; returns the flattened outputs."""
        with self._lock:
            outputs = self._run(inputs)
            self._last_inputs = inputs
            return outputs

    def evict(self, *, poison: bool = False) -> bool:
        """Frees the device copy, at no cost: the host copy is always valid. Returns whether there was one.

        `poison` first fills it with 0xff, NaN in every floating format, so that a measurement or test cannot read
        weights that an earlier run left.
        """
        with self._lock:
            return self._runtime.evict(poison)

    def timeline(self, *, cold: bool = True) -> Timeline:
        """What the last call does when it is repeated with clocks around its layers and groups: cold, or as it is.

        Raises InvalidInputError before the first call.
        """
        with self._lock:
            runtime = self._runtime
            if self._last_inputs is None:
                raise InvalidInputError("there is no call to repeat; call the session first")
            if self._captures is not None:
                is_cold = cold or not runtime.is_resident
                if Kind(is_cold) in self._captures.kinds:
                    self._captures.add(Kind(is_cold, timed=True))
                if not is_cold and not runtime.is_resident:
                    self._run(self._last_inputs)  # what was captured left the model evicted
            if cold:
                runtime.evict()
            runtime.set_timed(True)
            try:
                self._run(self._last_inputs)
                times = runtime.last_times()
            finally:
                runtime.set_timed(False)
            assert times is not None  # the run above was timed
            return measured_timeline(detour(self._plan, self._lenders.positions), times, self._devices.names)

    def trace(self, path: str | os.PathLike[str], *, cold: bool = True) -> None:
        """Writes `timeline(cold=cold)` as Chrome trace JSON, for ui.perfetto.dev."""
        self.timeline(cold=cold).to_perfetto(path)

    def rebind(self, plan: Plan) -> None:
        """Goes on with another plan for the same model and devices: lays the host copy out again, evicts."""
        binding = self._bind(plan)
        with self._lock:
            self._runtime.rebind(binding)
            self._runtime.encode()
            self._plan = plan
            if self._captures is not None:
                self._captures.forget()
                self._captures.add(COLD, WARM)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the folder that `deepplan.load` takes without the model's class: graph, weights and plan."""
        from deepplan.export.folder import write_folder

        with self._lock:
            storages = tuple(self._runtime.storage_bytes(index) for index in range(len(self._graph.storages)))
            write_folder(
                folder,
                self._graph,
                storages,
                plan=self._plan,
                name=self._name,
                dtype=self._precision or "",
                batch_size=self._batch_size,
            )

    def synchronize(self) -> None:
        """Waits until the target has done all its work."""
        machine.target(self._devices.target).synchronize()
        if not self._devices.is_host:
            torch.cuda.synchronize(self._devices.target)

    def close(self) -> None:
        """Gives device and pinned memory back, after the target's work is done. Closing twice is harmless."""
        with self._lock:
            if self._core is None:
                return
            self._core = None
            self._last_inputs = None
            if self._captures is not None:
                self._captures.forget()
                self._captures = None
        machine.target(self._devices.target).trim()
        _core.trim_arena()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, inputs: list[torch.Tensor]) -> list[object]:
        with precision(self._precision):
            try:
                return self._runtime.run(inputs)
            except OutOfMemoryError:
                # Idle models and memory that torch keeps for later stand in the way of this one: once more without.
                machine.target(self._devices.target).evict_idle()
                if not self._devices.is_host:
                    torch.cuda.empty_cache()
                return self._runtime.run(inputs)

    def _bind(self, plan: Plan) -> _core.ExecutionPlan:
        execution_plan(self._graph, plan, len(self._asked.names))  # is it of this model and these devices?
        return execution_plan(self._graph, detour(plan, self._lenders.positions), len(self._devices.names))

    @property
    def _runtime(self) -> _core.Session:
        if self._core is None:
            raise InvalidInputError("the session is closed; load the model again")
        return self._core

    def _flatten(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
        args, kwargs = self._spread(args, kwargs)
        leaves = nesting.flatten(self._in_nesting, (args, kwargs), "the call")
        return list(self._tensors(leaves))

    def _spread(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Also takes a call with the one tuple or mapping that was planned with: `session(example_inputs)`."""
        if kwargs or len(args) != 1:
            return args, kwargs
        positional, keywords = self._in_nesting.children
        if isinstance(args[0], Mapping) and not positional.children and keywords.children:
            return (), dict(args[0])
        if isinstance(args[0], (tuple, list)) and len(positional.children) == len(args[0]) != 1:
            return tuple(args[0]), {}
        return args, kwargs

    def _tensors(self, leaves: Iterator[Any]) -> Iterator[torch.Tensor]:
        for spec, leaf in zip(self._graph.inputs, leaves, strict=True):
            if spec.kind == "tensor":
                if not isinstance(leaf, torch.Tensor):
                    raise InvalidInputError(f"input {spec.name} must be a tensor, not {leaf!r:.80}")
                yield leaf
            elif type(leaf) is not type(spec.value) or leaf != spec.value:
                raise InvalidInputError(
                    f"input {spec.name} was {spec.value!r} when the model was planned, not {leaf!r:.80}"
                )
