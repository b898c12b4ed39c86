"""Captured modules compute what eager ones do, to the bit; what cannot be captured is refused by name."""

import collections
import subprocess
import sys

import pytest
import torch
from torch import nn

from deepplan.errors import ExportError
from deepplan.export.capture import capture

Pair = collections.namedtuple("Pair", ["sum", "product"])


class FromFunction(nn.Module):
    """A module around `function(self, ...)`, with a linear layer, a buffer and a batch norm for it to use."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.fc = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("table", torch.arange(4.0))
        self.register_buffer("hidden", torch.full((4,), 2.0), persistent=False)
        self.constant = torch.tensor([1.0, -1.0, 2.0, 0.5])

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


def module(function) -> nn.Module:
    torch.manual_seed(0)
    return FromFunction(function).eval()


def chunks(self, x):
    first, second = x.chunk(2, dim=1)
    parts = x.split([1, 3], dim=1)
    return first + second, parts[1] * 2, x.unbind(0)[0]


def autocast(self, x):
    with torch.autocast("cpu", torch.bfloat16):
        y = self.fc(x)
        with torch.autocast("cpu", enabled=False):
            z = self.fc(y.float())
    return self.fc(z) + y


def gradient_modes(self, x):
    with torch.no_grad():
        y = self.fc(x)
    with torch.enable_grad():
        return self.fc(y)


def constants(self, x):
    positions = torch.arange(x.shape[1], device=x.device) + torch.arange(x.shape[1])
    return x + positions + torch.tensor([1.0, 2.0, 3.0, 4.0]) + self.constant + torch.full((4,), float("inf"))


def in_place_on_values(self, x):
    y = self.fc(x)
    y.relu_().add_(1)
    y[:, 0] = 7
    return y


FUNCTIONS = {
    "layers": lambda self, x: self.norm(self.fc(x)),
    "buffers": lambda self, x: x * self.table + self.hidden,
    "lists of tensors": chunks,
    "many results": lambda self, x: (x.max(dim=1), x.topk(2).indices),
    "autocast regions": autocast,
    "gradient modes": gradient_modes,
    "device constants": constants,
    "in place on values": in_place_on_values,
    "a dictionary": lambda self, x: {"b": x + 1, "a": [self.fc(x), (x,)], "n": 3, "none": None, "name": "text"},
    "an ordered dictionary": lambda self, x: collections.OrderedDict(z=x, a=-x),
    "a named tuple": lambda self, x: Pair(x + x, x * x),
    "a weight": lambda self, x: (self.fc.weight, self.table[1:], x),
    "an input as it is": lambda self, x: x,
    "dtypes": lambda self, x: x.to(torch.float64).to(torch.bfloat16).float().bool(),
    "memory formats": lambda self, x: x.reshape(1, 1, 2, 4).to(memory_format=torch.channels_last) * 2,
    "complex numbers": lambda self, x: torch.view_as_real(torch.fft.fft(x) * (1 + 2j)),
    "an embedding": lambda self, x: nn.functional.embedding(x.long().clamp(0, 3), self.fc.weight),
    "dead code": lambda self, x: (self.fc(x), x)[1] + 1,
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_a_graph_equals_eager(function, check_against_eager):
    check_against_eager(module(function), torch.randn(2, 4))


def test_nested_and_keyword_inputs_and_constants(check_against_eager):
    def forward(self, x, options, *, scale=1, masks=None, flag=False):
        y = x * scale + options["bias"][0] + (masks[1] if flag else 0)
        return y - options["bias"][1]

    x = torch.randn(2, 4)
    options = {"bias": [torch.randn(4), torch.randn(2, 1)]}
    captured = check_against_eager(module(forward), x, options, scale=2.5, masks=(x, x + 1), flag=True)
    kinds = [(given.kind, given.value) for given in captured.graph.inputs]
    assert kinds.count(("constant", 2.5)) == 1 and kinds.count(("constant", True)) == 1
    assert sum(kind == "tensor" for kind, _ in kinds) == 5


def test_an_lstm_equals_eager(check_against_eager):
    """Without gradients wanted: eager `matmul` chooses its kernel by `requires_grad`, even under `no_grad`."""

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(50, 16)
            self.lstm = nn.LSTM(16, 16, 2, batch_first=True, bidirectional=True)
            self.head = nn.Linear(32, 50)

        def forward(self, tokens):
            hidden, (last, cell) = self.lstm(self.embedding(tokens))
            return self.head(hidden), last, cell

    torch.manual_seed(0)
    captured = check_against_eager(Tagger().eval().requires_grad_(False), torch.randint(50, (2, 5)))
    assert [step.op for step in captured.graph.steps].count("aten::lstm") == 1  # not decomposed


def test_numbers_computed_at_run_time():
    captured = capture(module(lambda self, x: x * (x.shape[0] + x.sum().item())), (torch.randn(2, 4),))
    assert "deepplan::add" in [step.op for step in captured.graph.steps]


def test_nothing_unused_is_kept():
    graph = capture(module(lambda self, x: (self.norm(x), self.fc(x))[0]), (torch.randn(2, 4),)).graph
    names = {weight.name for weight in graph.weights}
    assert names == {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"}
    assert [step.op for step in graph.steps] == ["aten::batch_norm"]


def test_constants_name_the_target_instead_of_a_device():
    graph = capture(module(constants), (torch.randn(2, 4),)).graph
    devices = [step.kwargs["device"].kind for step in graph.steps if "device" in step.kwargs]
    assert devices.count("target") >= 3 and set(devices) == {"target"}


def test_the_digest_is_the_same_in_another_process_and_for_other_values():
    program = (
        "import torch; from torch import nn; from deepplan.export.capture import capture;"
        "m = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval();"
        "print(capture(m, (torch.zeros(1, 4),)).graph.model_digest)"
    )
    mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.split()[-1] == capture(mlp, (torch.ones(1, 4),)).graph.model_digest


def writes_input(self, x):
    x.add_(1)
    return x


def writes_view_of_buffer(self, x):
    self.table.view(2, 2)[0].mul_(2)
    return x + self.table


def writes_hidden_alias(self, x):
    nn.functional.dropout(self.table, training=False).add_(1)
    return x


def depends_on_values(self, x):
    if x.sum() > 0:
        return x
    return -x


def conditional(self, x):
    return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))


def another_device(self, x):
    return x, torch.zeros(4, device="meta")


REFUSED = {
    "writes to an input": (writes_input, r"aten::add_ writes to the input"),
    "writes to a view of a buffer": (writes_view_of_buffer, r"aten::mul_ writes to the parameter or buffer 'table'"),
    "writes to a hidden alias": (writes_hidden_alias, r"aten::add_ writes to the parameter or buffer 'table'"),
    "depends on values": (depends_on_values, r"test_capture.py:\d+ `if x.sum\(\) > 0:`: control flow depends"),
    "branches by an operator": (conditional, r"higher-order operator cond"),
    "asks for another device": (another_device, r"device meta"),
}


@pytest.mark.parametrize(("function", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_a_graph_is_refused_in_one_line(function, message, capfd):
    with pytest.raises(ExportError, match=message) as caught:
        capture(module(function), (torch.randn(2, 4),))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""  # torch prints graphs and tracebacks of its own


def test_batch_norm_in_training_mode_is_refused_by_name():
    with pytest.raises(ExportError, match="in place"):
        capture(module(lambda self, x: self.norm(x)).train(), (torch.randn(2, 4),))


def test_weights_without_values_are_refused_by_name():
    with pytest.raises(ExportError, match="'weight' has no values"):
        capture(nn.Linear(4, 4, device="meta"), (torch.randn(2, 4, device="meta"),))
