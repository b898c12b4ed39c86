"""Modules as users write them: tied and shared weights, buffers, keywords, recurrences, regions of autocast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

import deepplan
from deepplan.engine.devices import resolve_devices
from deepplan.engine.session import Session
from deepplan.engine.source import Source, resolve

Check = Callable[..., Source]


class Buffers(nn.Module):
    """Of several dtypes, one not persistent, one empty; beside a strided and a half-precision parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor([3, 1, 2, 0]))
        self.register_buffer("keep", torch.tensor([True, False, True, True]), persistent=False)
        self.register_buffer("nothing", torch.empty(0, 4))
        self.register_buffer("offset", torch.tensor(0.5))
        self.transposed = nn.Parameter(torch.randn(4, 6).t())
        self.scale = nn.Parameter(torch.randn(6, dtype=torch.float16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.cat([x, self.nothing])[:, self.index] * self.keep + self.offset
        return (y @ self.transposed.t()) * self.scale


class EmptyLayer(nn.Module):
    """A layer that owns nothing but a tensor without elements."""

    def __init__(self) -> None:
        super().__init__()
        self.none = nn.Linear(4, 0)
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.fc(x), self.none(x)], dim=1)


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(
        self,
        x: torch.Tensor,
        *,
        scale: float = 1.0,
        extra: Mapping[str, torch.Tensor] | None = None,
        flag: bool = False,
    ) -> dict[str, Any]:
        y = self.fc(x) * scale
        if extra is not None:
            y = y + extra["bias"]
        return {"y": y, "both": (y, [x]), "flag": flag}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, (hidden, _) = self.lstm(x)
        return self.head(y), hidden


class Shared(nn.Module):
    """One layer called twice, weights as views of one another, results that are lists, a result that is a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.other = nn.Linear(8, 8)
        self.other.weight = nn.Parameter(self.fc.weight.detach())

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first, second = torch.split(self.fc(self.fc(x)), 4, dim=1)
        return self.other(torch.cat([second, first], dim=1)), torch.stack(x.unbind(0)[::-1]), self.fc.bias


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            y = self.first(x)
        return y, self.second(y.float())


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x)
        y[:, ::2] = 0
        y += 1
        return y.masked_fill_(y > 1.5, -1.0).clamp_(min=-0.5)


MODULES: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "buffers": (Buffers, torch.randn(3, 4)),
    "a layer of no weights": (EmptyLayer, torch.randn(3, 4)),
    "keywords": (Keywords, {"x": torch.randn(2, 4), "scale": 2.0, "extra": {"bias": torch.ones(4)}, "flag": True}),
    "keywords left out": (Keywords, (torch.randn(2, 4),)),
    "a recurrence": (Recurrent, torch.randn(2, 5, 8)),
    "shared weights": (Shared, torch.randn(3, 8)),
    "a region of autocast": (Autocast, torch.randn(3, 8)),
    "writes to values": (InPlace, torch.randn(3, 8)),
}


@pytest.mark.parametrize("name", MODULES)
def test_equals_eager(name: str, check_engines: Check, backend: str) -> None:
    if name == "a region of autocast" and backend == "cuda":
        pytest.skip("its device is burnt in when it is exported on the CPU")
    make, inputs = MODULES[name]
    torch.manual_seed(0)
    check_engines(make().eval(), inputs, backend, dtype=None)


def test_a_tied_table_is_read_in_place_and_loaded(backend: str) -> None:
    """GPT-2's embedding gathers a few rows at the start; its head needs the whole table at the end."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=3000, use_cache=False)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    inputs = {"input_ids": torch.arange(16).reshape(1, 16) * 97 % 3000}
    source = resolve(model, inputs)
    graph = source.captured.graph
    table_bytes = model.lm_head.weight.nbytes
    owners = [
        layer.name for layer in graph.layers if any(graph.storages[s].size_bytes == table_bytes for s in layer.storages)
    ]
    assert owners == ["lm_head"]

    embedding = next(index for index, layer in enumerate(graph.layers) if layer.name == "transformer.wte")
    loads = [bool(layer.storages) and index > embedding for index, layer in enumerate(graph.layers)]
    counts = iter(range(len(loads)))
    groups = [next(counts) if load else -1 for load in loads]
    profile = profile_of(source)
    plan = deepplan.Plan.from_choices(profile, ["load" if load else "dha" for load in loads], groups, [0] * sum(loads))
    with torch.no_grad():
        expected = model(**inputs).logits
    with Session(source, plan, resolve_devices(f"{backend}:0")) as session:
        assert session.device_bytes >= table_bytes
        session(**inputs)
        for _ in range(3):
            session.evict(poison=True)
            for _ in range(2):
                torch.testing.assert_close(session(**inputs).logits.cpu(), expected, rtol=1e-4, atol=1e-4)


def profile_of(source: Source) -> deepplan.Profile:
    """Of times that do not matter: the plan is given."""
    from deepplan.engine.binding import layer_sizes

    graph = source.captured.graph
    layers = tuple(
        deepplan.LayerProfile(layer.name, layer.type, size, 0.1, 0.1, 0.1 if size else None)
        for layer, size in zip(graph.layers, layer_sizes(graph))
    )
    return deepplan.Profile(layers=layers, links=(deepplan.LinkProfile(0.01, 4.0),))
