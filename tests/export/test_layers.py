"""How a graph is cut into layers and who loads what."""

import torch
from torch import nn

from deepplan.export.capture import capture


class Tied(nn.Module):
    """An embedding whose table is the output head's weight, too, and a block that is called twice."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.block = nn.Linear(4, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        x = self.block(self.table(tokens)).relu()
        return self.head(self.block(x))


def graph_of(module, *args):
    return capture(module.eval(), args).graph


def test_layers_are_runs_of_one_module_call():
    graph = graph_of(Tied(), torch.zeros(1, 3, dtype=torch.long))
    assert [(layer.name, layer.type) for layer in graph.layers] == [
        ("table", "Embedding"),
        ("block", "Linear"),
        ("Tied", "Tied"),
        ("block#2", "Linear"),
        ("head", "Linear"),
    ]


def test_consecutive_calls_of_one_module_are_layers_of_their_own():
    class Repeat(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(self.fc(self.fc(x)))

    assert [layer.name for layer in graph_of(Repeat(), torch.zeros(1, 4)).layers] == ["fc", "fc#2", "fc#3"]


def test_a_module_interrupted_by_its_children_has_several_runs():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(x + 1) * 2

    names = [layer.name for layer in graph_of(nn.Sequential(Around()), torch.zeros(1, 4)).layers]
    assert names == ["0", "0.fc", "0#2"]


def test_a_table_belongs_to_its_dense_use_and_a_shared_weight_to_its_first():
    graph = graph_of(Tied(), torch.zeros(1, 3, dtype=torch.long))
    names = {layer.name: [graph.storages[index].name for index in layer.storages] for layer in graph.layers}
    assert names["table"] == [] and names["head"] == ["head.weight"]
    assert names["block"] == ["block.weight", "block.bias"] and names["block#2"] == []


def test_a_layer_whose_weights_another_reads_as_a_whole_is_not_read_in_place():
    graph = graph_of(Tied(), torch.zeros(1, 3, dtype=torch.long))
    in_place = {layer.name: layer.direct_host_access for layer in graph.layers}
    assert not in_place["block"] and in_place["head"]


def test_an_embedding_alone_owns_its_table():
    graph = graph_of(nn.Sequential(nn.Embedding(10, 4)), torch.zeros(1, 3, dtype=torch.long))
    assert graph.layers[0].storages == (0,) and graph.layers[0].direct_host_access


def test_steps_outside_any_module_take_the_operators_name():
    class Weight(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x):
            return self.scale

    assert [layer.name for layer in graph_of(Weight(), torch.zeros(1)).layers] == ["clone"]
