"""How far long work is, on stderr: a bar in a terminal, elsewhere one line for each step that is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """Gives the function that takes the share of `what` that is done, from 0 to 1."""
    if not sys.stderr.isatty():
        started = time.perf_counter()
        yield lambda share: None
        print(f"deepplan: {what}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
        return
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}"
    with tqdm(total=100.0, desc=what, file=sys.stderr, leave=False, bar_format=form) as bar:
        yield lambda share: bar.update(max(0.0, 100.0 * share - bar.n)) and None
