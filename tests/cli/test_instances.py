from __future__ import annotations

import pytest

from deepplan.cli.instances import named_instances
from deepplan.errors import InvalidInputError


def test_a_count_makes_numbered_instances_and_no_count_the_name_itself() -> None:
    assert named_instances("--model", ["gpt2=2", "bert_base", "r=1"]) == [
        ("gpt2-0", "gpt2"),
        ("gpt2-1", "gpt2"),
        ("bert_base", "bert_base"),
        ("r-0", "r"),
    ]


@pytest.mark.parametrize("text", ["", "=2", "a=", "a=0", "a=-1", "a=1.5", "a=x", "a=100001", "a=" + "9" * 5000])
def test_misuse_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^--model "):
        named_instances("--model", [text])


@pytest.mark.parametrize("texts", [["a", "a"], ["a=2", "a=3"], ["a=2", "a-1"]])
def test_an_instance_is_named_once(texts: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="twice"):
        named_instances("--model", texts)
