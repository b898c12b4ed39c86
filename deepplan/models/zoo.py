"""Which models the zoo has, as data: the configuration of each, and the shape of its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from deepplan.errors import UnknownNameError


@dataclass(frozen=True)
class Entry:
    """`config` are the arguments of `ResNet` where `architecture` is "ResNet", else of its transformers configuration.

    `tokens` gives the sequence length of each integer input; without any, the input is an image. `head` is what
    transformers' class is called after the architecture. `dtype` is the precision of the weights, and `on_meta` says
    that they get values only where they are wanted: the model is too large to lie in ordinary memory first.
    """

    architecture: str
    config: dict[str, Any]
    tokens: dict[str, int] = field(default_factory=dict)
    head: str = "Model"
    dtype: str = "fp32"
    on_meta: bool = False


_DEPTHS_50, _DEPTHS_101 = (3, 4, 6, 3), (3, 4, 23, 3)

_BERT_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
_GPT2_MEDIUM = {"n_embd": 1024, "n_layer": 24, "n_head": 16}
_BART_BASE = {
    **{"d_model": 768, "encoder_layers": 6, "decoder_layers": 6, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072},
    **{"encoder_attention_heads": 12, "decoder_attention_heads": 12},
}
_T5_SMALL = {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
_T5_BASE = {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}


_LLAMA3_8B = {
    **{"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192},
    **{"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}, "rms_norm_eps": 1e-5},
    "tie_word_embeddings": False,
}


def _resnet(depths: tuple[int, ...], groups: int = 1, width_per_group: int = 64) -> Entry:
    return Entry("ResNet", {"depths": depths, "groups": groups, "width_per_group": width_per_group})


def _encoder(architecture: str, config: dict[str, Any], length: int = 384) -> Entry:
    return Entry(architecture, config, {"input_ids": length})


def _decoder(config: dict[str, Any], length: int = 1024) -> Entry:
    return Entry("GPT2", {**config, "use_cache": False}, {"input_ids": length})


def _encoder_decoder(architecture: str, config: dict[str, Any], length: int = 384) -> Entry:
    tokens = {"input_ids": length, "decoder_input_ids": length}
    return Entry(architecture, {**config, "use_cache": False}, tokens)


def _large_decoder(config: dict[str, Any], length: int = 128) -> Entry:
    config, tokens = {**config, "use_cache": False}, {"input_ids": length}
    return Entry("Llama", config, tokens, head="ForCausalLM", dtype="bf16", on_meta=True)


ZOO = MappingProxyType(
    {
        "resnet50": _resnet(_DEPTHS_50),
        "resnet101": _resnet(_DEPTHS_101),
        "resnext50": _resnet(_DEPTHS_50, groups=32, width_per_group=4),
        "resnext101": _resnet(_DEPTHS_101, groups=32, width_per_group=8),
        "wide_resnet50": _resnet(_DEPTHS_50, width_per_group=128),
        "wide_resnet101": _resnet(_DEPTHS_101, width_per_group=128),
        "bert_base": _encoder("Bert", {}),
        "bert_large": _encoder("Bert", _BERT_LARGE),
        "roberta_base": _encoder("Roberta", _ROBERTA),
        "roberta_large": _encoder("Roberta", {**_ROBERTA, **_BERT_LARGE}),
        "gpt2": _decoder({}),
        "gpt2_medium": _decoder(_GPT2_MEDIUM),
        "gpt2_384": _decoder({}, length=384),
        "bart_base": _encoder_decoder("Bart", _BART_BASE),
        "t5_small": _encoder_decoder("T5", _T5_SMALL),
        "t5_base": _encoder_decoder("T5", _T5_BASE),
        "llama3_8b": _large_decoder(_LLAMA3_8B),
    }
)


def names() -> tuple[str, ...]:
    """The names of the zoo's models."""
    return tuple(ZOO)


def default_dtype(name: str) -> str:
    """The precision in which the named model is run unless another is asked for; fp32 for what is no zoo name."""
    return ZOO[name].dtype if name in ZOO else "fp32"


def find(name: str) -> Entry:
    """The entry of that name. Raises UnknownNameError listing all names."""
    if name not in ZOO:
        raise UnknownNameError(f"no model {name!r}; there are {', '.join(ZOO)}")
    return ZOO[name]
