"""transformers' models equal eager execution to the bit, with attention's fast path where they were given no mask."""

import pytest
import torch

from deepplan.errors import ExportError
from deepplan.export.capture import capture
from deepplan.export.masks import masks_as_in_eager

transformers = pytest.importorskip("transformers")

SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=100)
GPT2 = dict(n_embd=32, n_layer=2, n_head=4, vocab_size=100, use_cache=False)
ENCODER_DECODER = dict(
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=64,
    decoder_ffn_dim=64,
    vocab_size=100,
    use_cache=False,
)
T5 = dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=100, use_cache=False)
LLAMA = SMALL | dict(num_key_value_heads=2, use_cache=False)
IMAGE = dict(image_size=32, patch_size=8)


def build(name: str, **config):
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    return kind(kind.config_class(**config)).eval()


def tokens(length: int = 7, batch: int = 1) -> torch.Tensor:
    return torch.randint(3, 90, (batch, length), generator=torch.Generator().manual_seed(1))


def attention_calls(captured) -> list[tuple[bool, bool]]:
    """For each attention: whether it has a mask, and whether it is causal."""
    calls = []
    for step in captured.graph.steps:
        if step.op == "aten::scaled_dot_product_attention":
            args = (*step.args, *[None] * (6 - len(step.args)))
            calls.append(
                (step.kwargs.get("attn_mask", args[3]) is not None, bool(step.kwargs.get("is_causal", args[5])))
            )
    return calls


@pytest.mark.parametrize(
    ("name", "config", "causal"),
    [
        ("BertModel", SMALL, [False] * 2),
        ("RobertaModel", SMALL | dict(type_vocab_size=1, max_position_embeddings=514), [False] * 2),
        ("GPT2Model", GPT2, [True] * 2),
        ("GPT2LMHeadModel", GPT2, [True] * 2),
        ("BartModel", ENCODER_DECODER, [False] * 2 + [True, False] * 2),
        ("LlamaForCausalLM", LLAMA, [True] * 2),
        ("DistilBertModel", dict(dim=32, hidden_dim=64, n_layers=2, n_heads=4, vocab_size=100), [False] * 2),
        ("MixtralForCausalLM", LLAMA | dict(num_local_experts=4), [True] * 2),
    ],
)
def test_without_a_mask_attention_keeps_its_fast_path(name, config, causal, check_against_eager):
    captured = check_against_eager(build(name, **config), tokens())
    assert attention_calls(captured) == [(False, is_causal) for is_causal in causal]


def test_t5_equals_eager(check_against_eager):
    check_against_eager(build("T5Model", **T5), input_ids=tokens(7), decoder_input_ids=tokens(5))


def test_vision_models_equal_eager(check_against_eager):
    check_against_eager(build("ViTModel", **SMALL, **IMAGE), torch.randn(1, 3, 32, 32))
    text = SMALL | dict(eos_token_id=99)
    clip = build("CLIPModel", text_config=text, vision_config=SMALL | IMAGE, projection_dim=16)
    ended = torch.cat([tokens(6), torch.full((1, 1), 99)], dim=1)
    check_against_eager(clip, input_ids=ended, pixel_values=torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize(("name", "config"), [("BertModel", SMALL), ("GPT2Model", GPT2), ("LlamaForCausalLM", LLAMA)])
def test_a_mask_that_is_given_stays_an_input(name, config, check_against_eager, interpret):
    """Exported with a mask of ones, which eager execution drops: another mask must still be obeyed."""
    model = build(name, **config)
    ones = torch.ones(1, 7, dtype=torch.long)
    captured = capture(model, (tokens(),), {"attention_mask": ones})
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    with torch.no_grad():
        expected = model(tokens(), attention_mask=mask)[0]
    actual = interpret(captured)(tokens(), attention_mask=mask)[0]
    torch.testing.assert_close(actual[:, :5], expected[:, :5])
    assert all(masked for masked, _ in attention_calls(captured))


def test_packed_positions_that_are_given_stay_an_input(check_against_eager):
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
    captured = check_against_eager(build("LlamaForCausalLM", **LLAMA), input_ids=tokens(), position_ids=positions)
    assert all(masked for masked, _ in attention_calls(captured))


def test_tied_tables_are_one_storage_loaded_by_the_head():
    graph = capture(build("GPT2LMHeadModel", **GPT2), (tokens(),)).graph
    tied = next(index for index, storage in enumerate(graph.storages) if storage.size_bytes == 100 * 32 * 4)
    owner = next(layer for layer in graph.layers if tied in layer.storages)
    assert owner.name == "lm_head" and owner.direct_host_access
    assert sum(storage.size_bytes == 100 * 32 * 4 for storage in graph.storages) == 1


def test_a_model_that_returns_its_cache_is_refused_with_the_remedy():
    with pytest.raises(ExportError, match="use_cache = False"):
        capture(build("LlamaModel", **(LLAMA | dict(use_cache=True))), (tokens(),))


def test_the_mask_helpers_are_restored():
    from transformers import masking_utils

    before = dict(vars(masking_utils))
    with pytest.raises(KeyError), masks_as_in_eager():
        raise KeyError
    assert dict(vars(masking_utils)) == before
