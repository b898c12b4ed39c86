from __future__ import annotations

from collections import UserDict
from types import MappingProxyType
from typing import Any

import pytest
import torch

from deepplan.engine.example_inputs import find_example_inputs, normalise, with_batch_size
from deepplan.errors import InvalidInputError

X, Y = torch.ones(1, 3), torch.zeros(1, 5)


class Carrying(torch.nn.Linear):
    """Has the given attributes, some of which libraries define as properties."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(3, 2)
        for name, value in attributes.items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    ("inputs", "call"),
    [
        (X, ((X,), {})),
        ((X, 2.5), ((X, 2.5), {})),
        ([X, Y], ((X, Y), {})),
        ((), ((), {})),
        ({"x": X, "causal": True}, ((), {"x": X, "causal": True})),
        (MappingProxyType({"x": X}), ((), {"x": X})),
        (UserDict(x=X), ((), {"x": X})),  # what transformers' tokenizers return derives from it
    ],
)
def test_three_forms(inputs: Any, call: Any) -> None:
    args, kwargs = normalise(inputs)
    assert args == call[0] and kwargs == call[1]
    assert type(args) is tuple and type(kwargs) is dict


@pytest.mark.parametrize("inputs", [None, 3, "resnet50", {1, 2}, lambda: X])
def test_other_types_are_refused(inputs: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"type {type(inputs).__name__}; pass example_inputs: a tensor"):
        normalise(inputs)


def test_keywords_are_strings() -> None:
    with pytest.raises(InvalidInputError, match="key 0"):
        normalise({0: X})


@pytest.mark.parametrize("attribute", ["example_inputs", "example_input_array"])
def test_inputs_that_a_module_carries(attribute: str) -> None:
    assert find_example_inputs(Carrying(**{attribute: X})) == ((X,), {})
    assert find_example_inputs(Carrying(**{attribute: {"input": X}})) == ((), {"input": X})


def test_a_modules_own_come_first() -> None:
    module = Carrying(example_inputs=X, example_input_array=Y, dummy_inputs={"input": Y}, main_input_name="input")
    assert find_example_inputs(module) == ((X,), {})
    module.example_inputs = None
    assert find_example_inputs(module) == ((Y,), {})
    module.example_input_array = None
    assert find_example_inputs(module) == ((), {"input": Y})


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"example_input_array": None},  # Lightning's default
        {"example_inputs": lambda: X},  # a method of that name
        {"dummy_inputs": {"input": X}},  # not transformers'
        {"dummy_inputs": {"input_ids": X}, "main_input_name": "pixel_values"},
        {"dummy_inputs": {"input": X, "input_ids": X}, "main_input_name": "input"},  # forward takes no input_ids
    ],
)
def test_without_inputs_the_remedy_is_named(attributes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"Carrying does not say .* pass example_inputs"):
        find_example_inputs(Carrying(**attributes))


def test_dummy_inputs_that_cannot_be_computed_are_none() -> None:
    class Broken(torch.nn.Linear):
        main_input_name = "input"

        @property
        def dummy_inputs(self) -> Any:
            raise TypeError("no pad token")

    with pytest.raises(InvalidInputError, match="Broken does not say"):
        find_example_inputs(Broken(1, 1))


def test_transformers_models() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    bert = transformers.BertModel(transformers.BertConfig(vocab_size=16, **sizes)).eval()
    args, kwargs = find_example_inputs(bert)
    assert not args
    assert bert(*args, **kwargs).last_hidden_state.shape[0] == kwargs["input_ids"].shape[0]

    t5 = transformers.T5Model(
        transformers.T5Config(vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    )
    assert "decoder_input_ids" in find_example_inputs(t5)[1]

    vit = transformers.ViTModel(transformers.ViTConfig(image_size=8, patch_size=4, **sizes))
    with pytest.raises(InvalidInputError, match="ViTModel does not say"):  # it inherits token ids
        find_example_inputs(vit)


def test_a_batch_is_made_of_one_sample() -> None:
    x, position = torch.arange(3.0)[None], torch.arange(7)
    call = ((x, [x, {"scale": torch.tensor(2.0)}]), {"position": position, "causal": True})
    args, kwargs = with_batch_size(call, 3)
    assert torch.equal(args[0], x.expand(3, 3))
    assert torch.equal(args[1][0], x.expand(3, 3))
    assert args[1][1]["scale"] == 2.0 and args[1][1]["scale"].dim() == 0
    assert kwargs["position"] is position and kwargs["causal"] is True
    assert x.shape == (1, 3)  # what was given stays


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 9])
def test_a_batch_is_repeated_or_cut(batch_size: int) -> None:
    ids, mask, table = torch.arange(8).reshape(4, 2), torch.arange(4) > 1, torch.zeros(6, 2)
    args, kwargs = with_batch_size(((ids,), {"mask": mask, "table": table}), batch_size)
    assert torch.equal(args[0], torch.cat([ids] * 3)[:batch_size])
    assert torch.equal(kwargs["mask"], torch.cat([mask] * 3)[:batch_size])
    assert kwargs["table"] is table  # not of the batch


def test_what_is_broadcast_over_the_batch_grows_with_it() -> None:
    x, bias = torch.zeros(4, 2), torch.zeros(1, 2)
    args, _ = with_batch_size(((x, bias, x), {}), 6)
    assert [tensor.shape[0] for tensor in args] == [6, 6, 6]


@pytest.mark.parametrize("call", [((), {}), ((torch.tensor(1.0), 3), {}), ((torch.zeros(0, 3),), {})])
def test_inputs_without_a_batch_are_refused(call: Any) -> None:
    with pytest.raises(InvalidInputError, match="no batch to make 2 of"):
        with_batch_size(call, 2)
