"""Instances of models as they are named in flags: `bert_base`, or `bert_base=20` for bert_base-0 to bert_base-19."""

from __future__ import annotations

from collections.abc import Sequence

from deepplan.errors import InvalidInputError

_MAX_INSTANCES = 100_000


def named_instances(flag: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Each instance's name and its model's, in the order given.

    Raises InvalidInputError, also for a name that is used twice.
    """
    instances: list[tuple[str, str]] = []
    for text in texts:
        model, equals, count = text.rpartition("=") if "=" in text else (text, "", "")
        if not model or (equals and not _is_count(count)):
            raise InvalidInputError(
                f"{flag} {text}: it is a name, or a name and a number of instances up to {_MAX_INSTANCES}: bert_base=20"
            )
        names = [f"{model}-{index}" for index in range(int(count))] if equals else [model]
        instances += [(name, model) for name in names]
    seen = set()
    for name, _ in instances:
        if name in seen:
            raise InvalidInputError(f"{flag}: the instance {name} is named twice; name each once")
        seen.add(name)
    return instances


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) <= 6 and 1 <= int(text) <= _MAX_INSTANCES
