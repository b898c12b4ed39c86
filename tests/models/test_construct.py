from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch

from deepplan import models
from deepplan.models.construct import construct
from deepplan.models.zoo import find


def digest(module: torch.nn.Module) -> str:
    state = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        state.update(name.encode())
        state.update(tensor.numpy().tobytes())
    return state.hexdigest()


def test_weights_depend_on_the_name_only() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = models.build("resnet50")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            second = models.build("resnet50")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert digest(first) == digest(second)
    assert all(parameter.dtype == torch.float32 for parameter in second.parameters())


def test_transformers_draw_nothing_either() -> None:
    before = torch.get_rng_state()
    first, second = models.build("t5_small"), models.build("t5_small")
    assert torch.equal(torch.get_rng_state(), before)
    assert digest(first) == digest(second)
    table = first.get_parameter("shared.weight")
    assert float(table.mean()) == pytest.approx(0, abs=1e-4)
    assert float(table.std()) == pytest.approx(0.02, rel=0.01)
    norm = first.get_parameter("encoder.final_layer_norm.weight")
    assert float(norm.mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["resnet50", "bert_base", "gpt2_384", "t5_small"])
def test_example_inputs_run(name: str) -> None:
    module = models.build(name)
    assert module.zoo_name == name
    inputs = module.example_inputs
    with torch.no_grad():
        outputs = module(**inputs) if isinstance(inputs, dict) else module(inputs)
    values = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    assert torch.isfinite(values).all()
    assert 0.5 < float(values.std()) < 5
    assert isinstance(outputs, torch.Tensor) or "past_key_values" not in outputs


def test_buffers_have_their_values() -> None:
    module = construct(find("bert_base"))
    positions = dict(module.named_buffers())["embeddings.position_ids"]
    assert torch.equal(positions.flatten(), torch.arange(positions.numel()))


def test_a_large_model_is_built_without_its_memory() -> None:
    entry = find("llama3_8b")
    module = construct(replace(entry, config={**entry.config, "num_hidden_layers": 2}))
    assert all(parameter.is_meta and parameter.dtype == torch.bfloat16 for parameter in module.parameters())
    frequencies = module.get_buffer("model.rotary_emb.inv_freq")
    expected = 500000.0 ** (-torch.arange(0, 128, 2) / 128)  # Su et al., RoFormer, section 3.4.2
    torch.testing.assert_close(frequencies, expected)
    assert not torch.nn.Linear(1, 1).weight.is_meta  # later modules are as ever


def test_two_names_of_a_parameter_on_meta_stay_one() -> None:
    entry = find("llama3_8b")
    small = {"num_hidden_layers": 1, "vocab_size": 100, "tie_word_embeddings": True}
    module = construct(replace(entry, config={**entry.config, **small}))
    assert module.get_parameter("lm_head.weight") is module.get_parameter("model.embed_tokens.weight")
