"""How far long work is, on stderr: a bar in a terminal, one line a step elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """Announces `what` and gives the function that takes the share of it that is done, from 0 to 1."""
    if not sys.stderr.isatty():
        print(f"deepplan: {what}", file=sys.stderr, flush=True)
        yield lambda share: None
        return
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}"
    with tqdm(total=100.0, desc=what, file=sys.stderr, leave=False, bar_format=form) as bar:
        yield lambda share: bar.update(max(0.0, 100.0 * share - bar.n)) and None
