"""Documents of graphs: a sound one survives, and nothing else is accepted."""

import json
from dataclasses import replace

import pytest

from deepplan.errors import DocumentError
from deepplan.export.arguments import Slot, WeightRef
from deepplan.export.graph import Graph, InputSpec, Layer, Step, Storage, Weight


def small_graph() -> Graph:
    """relu(x @ w.T + b), w and b of one storage, in two layers."""
    return Graph(
        storages=(Storage("fc.weight", 80),),
        weights=(
            Weight("fc.weight", 0, "float32", (4, 4), (4, 1), 0),
            Weight("fc.bias", 0, "float32", (4,), (1,), 64),
        ),
        layers=(Layer("fc", "Linear", (0, 1), (0,), True), Layer("act", "ReLU", (1, 2), (), True)),
        steps=(
            Step("aten::linear", "", (Slot(0), WeightRef(0), WeightRef(1)), {}, (1,), (0,), 0),
            Step("aten::relu", "", (Slot(1),), {}, (2,), (1,), 1),
        ),
        inputs=(InputSpec("x", "float32", (2, 4), 0),),
        outputs=(Slot(2),),
        slots=3,
        in_spec="",
        out_spec="",
    )


def test_a_graph_survives_its_document():
    graph = small_graph()
    read = Graph.from_json(graph.to_json())
    assert read == graph
    assert read.model_digest == graph.model_digest


def test_the_digest_is_the_same_in_every_process():
    assert small_graph().model_digest == "04125a84ad896879735dce54b93e6884603ad752f1838de0c6704c8a277093b3"


def test_the_digest_tells_architectures_apart():
    graph = small_graph()
    step = replace(graph.steps[1], op="aten::gelu")
    assert replace(graph, steps=(graph.steps[0], step)).model_digest != graph.model_digest


def test_every_truncated_document_is_refused():
    text = small_graph().to_json()
    for end in range(len(text)):
        with pytest.raises(DocumentError):
            Graph.from_json(text[:end])


def test_no_value_of_a_document_may_be_of_another_kind():
    """Replaces every value in the document, one by one, by what cannot stand there."""
    data = json.loads(small_graph().to_json())
    refused = 0
    for holder, key in _places(data):
        original = holder[key]
        for wrong in ({"no": "where"}, -7, 1e300, "nonsense::", [[["x"]]]):
            holder[key] = wrong
            try:
                Graph.from_json(json.dumps(data))
            except DocumentError:
                refused += 1
        holder[key] = original
    assert refused > 300
    assert Graph.from_json(json.dumps(data)) == small_graph()


def _places(data):
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(items):
        yield data, key
        yield from _places(value)


UNSOUND = {
    "a slot that does not exist": dict(slots=2),
    "a weight past its storage": dict(storages=(Storage("fc.weight", 79),)),
    "a negative storage": dict(storages=(Storage("fc.weight", -1),)),
    "an output that died": dict(outputs=(Slot(1),)),
    "an output that is a weight": dict(outputs=(WeightRef(0),)),
    "a storage that nobody loads": dict(storages=(Storage("fc.weight", 80), Storage("other", 4))),
    "no layers": dict(layers=()),
    "a gap between layers": dict(
        layers=(Layer("fc", "Linear", (0, 1), (0,), True), Layer("act", "ReLU", (2, 2), (), True))
    ),
    "two layers of one name": dict(
        layers=(Layer("fc", "Linear", (0, 1), (0,), True), Layer("fc", "ReLU", (1, 2), (), True))
    ),
    "a storage loaded twice": dict(
        layers=(Layer("fc", "Linear", (0, 1), (0,), True), Layer("act", "ReLU", (1, 2), (0,), True))
    ),
    "an input of no dtype": dict(inputs=(InputSpec("x", "float", (2, 4), 0),)),
    "an input of an unknown kind": dict(inputs=(InputSpec("x", "float32", (2, 4), 0, "magic"),)),
    "a constant that is a value": dict(
        inputs=(InputSpec("x", "float32", (2, 4), 0), InputSpec("y", "", (), -1, "constant", Slot(0)))
    ),
    "two inputs in a slot": dict(
        inputs=(InputSpec("x", "float32", (2, 4), 0), InputSpec("y", "float32", (2, 4), 0)),
    ),
}


@pytest.mark.parametrize("change", UNSOUND.values(), ids=UNSOUND.keys())
def test_an_unsound_graph_is_refused(change):
    with pytest.raises(DocumentError):
        replace(small_graph(), **change)


UNSOUND_STEPS = {
    "reads a value before it is written": dict(args=(Slot(2),)),
    "reads a weight that does not exist": dict(args=(WeightRef(2),)),
    "hides a bad index in a list": dict(args=((1, (Slot(9),)),)),
    "hides a bad index in a keyword": dict(kwargs={"x": Slot(0)}),
    "reads a value that died": dict(args=(Slot(0),)),
    "writes a slot twice": dict(outputs=(1,)),
    "frees an output": dict(frees=(1, 2)),
    "frees twice": dict(frees=(1, 1)),
    "lies in another layer": dict(layer=0),
    "has no operator's name": dict(op="relu"),
    "uses an operator of ours that is none": dict(op="deepplan::exec"),
    "opens a file": dict(op="aten::from_file"),
}


@pytest.mark.parametrize("change", UNSOUND_STEPS.values(), ids=UNSOUND_STEPS.keys())
def test_an_unsound_step_is_refused(change):
    graph = small_graph()
    with pytest.raises(DocumentError):
        replace(graph, steps=(graph.steps[0], replace(graph.steps[1], **change)))


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"format": "deepplan.graph"}', "[" * 100_000, b"\xff\xfe"])
def test_what_is_no_graph_document_is_refused(text):
    with pytest.raises(DocumentError):
        Graph.from_json(text)


def test_a_newer_version_is_refused_by_number():
    data = json.loads(small_graph().to_json()) | {"version": 2}
    with pytest.raises(DocumentError, match="version 2"):
        Graph.from_json(json.dumps(data))
