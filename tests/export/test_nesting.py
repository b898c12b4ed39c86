import collections
import json
import subprocess
import sys

import pytest
import torch

from deepplan.errors import DocumentError, ExportError, InvalidInputError
from deepplan.export.nesting import LEAF, dump, flatten, load, nesting_of, unflatten

Pair = collections.namedtuple("Pair", ["x", "y"])

VALUES = {
    "a leaf": 3,
    "nothing": (),
    "tuples and lists": (1, [2, (3,)], []),
    "a dictionary": {"b": 1, "a": {"c": (2,)}, 3: 4},
    "an ordered dictionary": collections.OrderedDict(z=1, a=2),
    "a named tuple": Pair(1, [2]),
    "none is a leaf": (None, 1),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_a_value_is_rebuilt_from_its_leaves(value):
    nesting = load(dump(nesting_of(value)))
    leaves = list(flatten(nesting, value))
    assert nesting.leaves == len(leaves)
    rebuilt = unflatten(nesting, iter(leaves))
    assert rebuilt == value and type(rebuilt) is type(value)


def test_torchs_own_result_classes():
    value = torch.max(torch.eye(2), dim=1)
    nesting = load(dump(nesting_of(value)))
    assert type(unflatten(nesting, flatten(nesting, value))) is torch.return_types.max


def test_dictionaries_are_taken_in_any_order():
    assert list(flatten(nesting_of({"a": 0, "b": 0}), {"b": 2, "a": 1})) == [1, 2]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (({"x": 1}, 3), r"the input\[0\] must be a dictionary"),
        (({"x": 1, "y": 2},), r"the input must hold 2 values"),
        ([{"x": 1, "y": 2}, 3], r"the input must be a tuple"),
        (3, r"the input must be a tuple"),
    ],
)
def test_a_value_nested_otherwise_is_refused_with_the_place(value, place):
    with pytest.raises(InvalidInputError, match=place):
        list(flatten(nesting_of(({"x": 1, "y": 2}, 3)), value))


def test_transformers_outputs_are_found_in_a_process_that_has_not_imported_them():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    text = dump(nesting_of(outputs.BaseModelOutputWithPooling(torch.ones(1), torch.ones(2))))
    program = (
        "import sys, torch; from deepplan.export.nesting import load, unflatten;"
        "out = unflatten(load(sys.argv[1]), iter([torch.ones(1), torch.ones(2)]));"
        "print(type(out).__name__, out.pooler_output.shape[0])"
    )
    run = subprocess.run([sys.executable, "-c", program, text], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["BaseModelOutputWithPooling", "2"]


HOSTILE = {
    "imports a module": ["registered", "antigravity:Flyer", None, []],
    "names a class that is no output": ["registered", "subprocess:Popen", None, []],
    "names a function": ["return_type", "os:system", None, []],
    "names a builtin": ["named_tuple", "builtins:eval", None, []],
    "imports a script of transformers": ["registered", "transformers.commands.serving:Serve", None, []],
    "has too few keys": ["dict", None, ["a"], [None, None]],
    "has a key twice": ["dict", None, ["a", "a"], [None, None]],
    "has a key of no kind": ["dict", None, [["a"]], [None]],
    "has children that are none": ["tuple", None, None, 3],
    "is of no kind": ["set", None, None, []],
    "is nested without end": None,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_nesting_is_refused(data):
    text = json.dumps(data) if data else '["tuple",null,null,[' * 5000 + "]]" * 5000
    before = set(sys.modules)
    with pytest.raises(DocumentError):
        load(text)
    assert "antigravity" not in set(sys.modules) - before


def test_a_model_output_with_a_field_that_it_does_not_have_is_refused():
    pytest.importorskip("transformers.modeling_outputs")
    data = ["registered", "transformers.modeling_outputs:BaseModelOutput", ["no_such_field"], [None]]
    with pytest.raises(DocumentError):
        load(json.dumps(data))


def test_a_key_that_json_cannot_keep_is_refused():
    with pytest.raises(ExportError, match="strings or integers"):
        nesting_of({(1, 2): 3})


def test_null_is_a_leaf():
    assert load("null") is LEAF
