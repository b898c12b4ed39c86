"""Lets transformers decide about attention masks inside a CUDA graph's capture as it does outside.

While a stream is captured, transformers (5.x) cannot look at values. It then builds every mask as a tensor, even where
eager execution passes none, and SDPA loses its fast path: the graph would be slower than the model it stands for. Here
it is told what it decided in the eager call before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

_MODULE = "transformers.masking_utils"
# Each looks at values, and says True or None where no mask is needed.
_DECIDING = ("_ignore_causal_mask_sdpa", "_ignore_bidirectional_mask_sdpa", "find_packed_sequence_indices")


class MaskDecisions:
    """What was decided in one call of a model, in order."""

    def __init__(self) -> None:
        self._made: list[bool] = []
        self._next: Iterator[bool] | None = None

    def record(self) -> None:
        """Forgets what was decided: another eager call begins."""
        self._made, self._next = [], None

    def repeat(self) -> None:
        """From now on the recorded decisions are taken again, in their order."""
        self._next = iter(self._made)

    def deciding(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`original` as it is while recording; in its place what it answered, where it found that no mask is needed."""

        @wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if self._next is not None:
                needless = next(self._next, False)
                return (None if original.__name__ == _DECIDING[-1] else True) if needless else original(*args, **kwargs)
            answer = original(*args, **kwargs)
            self._made.append(answer is None or answer is True)
            return answer

        return wrapper


@contextmanager
def mask_decisions() -> Iterator[MaskDecisions]:
    """Patches transformers' mask helpers, if transformers is loaded, while the context is entered."""
    decisions = MaskDecisions()
    module = sys.modules.get(_MODULE)
    originals = {name: getattr(module, name) for name in _DECIDING if hasattr(module, name)}
    try:
        for name, original in originals.items():
            setattr(module, name, decisions.deciding(original))
        yield decisions
    finally:
        for name, original in originals.items():
            setattr(module, name, original)
