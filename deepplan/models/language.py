"""The transformers of the zoo: transformers' own classes with SDPA attention, from configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn

_INPUT_SEED = 0
# Below this lie the special tokens of every vocabulary here (padding among them, which masks and shifts positions).
_FIRST_ORDINARY_TOKEN = 1000


@dataclass(frozen=True)
class Specification:
    """Which class of transformers, what differs from its default configuration, and the sequence it is served with."""

    family: str
    sequence: int
    options: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("input_ids",)


_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
_ROBERTA |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_BART = {"encoder_layers": 6, "decoder_layers": 6, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072, "d_model": 768}
_BART |= {"encoder_attention_heads": 12, "decoder_attention_heads": 12}
_T5_BASE = {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
_T5_INPUTS = ("input_ids", "decoder_input_ids")

SPECIFICATIONS = {
    "bert_base": Specification("Bert", 384),
    "bert_large": Specification("Bert", 384, _LARGE),
    "roberta_base": Specification("Roberta", 384, _ROBERTA),
    "roberta_large": Specification("Roberta", 384, _ROBERTA | _LARGE),
    "gpt2": Specification("GPT2", 1024),
    "gpt2_medium": Specification("GPT2", 1024, {"n_embd": 1024, "n_layer": 24, "n_head": 16}),
    "gpt2_384": Specification("GPT2", 384),
    "bart_base": Specification("Bart", 384, _BART),
    "t5_small": Specification("T5", 384, inputs=_T5_INPUTS),
    "t5_base": Specification("T5", 384, _T5_BASE, inputs=_T5_INPUTS),
}


def construct(name: str) -> nn.Module:
    """The model of that name with transformers' structure; its parameters are the caller's to fill."""
    import transformers

    specification = SPECIFICATIONS[name]
    configuration = getattr(transformers, f"{specification.family}Config")(
        **specification.options, use_cache=False, attn_implementation="sdpa"
    )
    return cast(nn.Module, getattr(transformers, f"{specification.family}Model")(configuration))


def tokens(name: str, batch_size: int) -> dict[str, torch.Tensor]:
    """int64 ids [batch_size, sequence] for each input the model needs, drawn from the ordinary tokens."""
    specification = SPECIFICATIONS[name]
    generator = torch.Generator().manual_seed(_INPUT_SEED)
    shape = (batch_size, specification.sequence)
    # 30,000 tokens: within the smallest vocabulary (BERT's 30,522), so that no configuration is needed to draw them.
    return {
        key: torch.randint(_FIRST_ORDINARY_TOKEN, 30_000, shape, generator=generator) for key in specification.inputs
    }
