"""What transformers decided about masks outside a capture, it decides again inside."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from deepplan.engine.mask_decisions import mask_decisions

masking_utils = pytest.importorskip("transformers.masking_utils")


@pytest.fixture
def gpt2() -> torch.nn.Module:
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    config = GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=50, use_cache=False, attn_implementation="sdpa")
    return GPT2Model(config).eval()


@pytest.fixture
def passed_masks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether SDPA was given a mask, at each call."""
    found: list[bool] = []
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def noting(*args: Any, attn_mask: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        found.append(attn_mask is not None)
        return sdpa(*args, attn_mask=attn_mask, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noting)
    return found


def pretend_to_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking_utils, "is_tracing", lambda tensor=None: True)


IDS = torch.arange(8)[None]


@pytest.mark.parametrize("padded", [False, True])
def test_a_mask_is_built_inside_where_it_is_outside(
    gpt2: torch.nn.Module, passed_masks: list[bool], padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = torch.ones_like(IDS)
    mask[0, :2] = 0
    given = {"attention_mask": mask} if padded else {}
    with torch.no_grad(), mask_decisions() as decisions:
        for _ in range(2):
            decisions.record()
            expected = gpt2(IDS, **given)[0]
        decisions.repeat()
        pretend_to_capture(monkeypatch)
        actual = gpt2(IDS, **given)[0]
    assert passed_masks == [padded] * 6  # two layers in three calls
    assert torch.equal(actual, expected)


def test_without_it_a_needless_mask_is_built(
    gpt2: torch.nn.Module, passed_masks: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_to_capture(monkeypatch)
    gpt2(IDS)
    assert passed_masks == [True, True]


def test_afterwards_everything_is_as_before() -> None:
    names = ("_ignore_causal_mask_sdpa", "_ignore_bidirectional_mask_sdpa", "find_packed_sequence_indices")
    before = [getattr(masking_utils, name) for name in names]
    with pytest.raises(ZeroDivisionError), mask_decisions():
        assert [getattr(masking_utils, name) for name in names] != before
        1 / 0  # noqa: B018
    assert [getattr(masking_utils, name) for name in names] == before
