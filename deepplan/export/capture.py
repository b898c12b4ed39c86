"""A PyTorch module, called once with example inputs, to deepplan's graph."""

from __future__ import annotations

import io
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from typing import Any

import torch
from torch.export import ExportedProgram

from deepplan.errors import ExportError
from deepplan.export.convert import Captured, convert
from deepplan.export.masks import masks_as_in_eager
from deepplan.export.meta import as_on_cpu, fill_weight_of, weights_on_meta


def capture(module: torch.nn.Module, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Captured:
    """The graph of `module(*args, **kwargs)`, for inputs of these shapes and dtypes, and its weights' bytes.

    The module is traced as it is (call `module.eval()` first), without gradients; nothing is decomposed, so the graph
    calls the operators that eager execution calls. Weights on the meta device are traced as if they lay on the CPU;
    the module has to bring their values, in a `fill_weight(name, place)`. Raises ExportError, in one line, with the
    operator or the source line that cannot be exported.
    """
    kwargs = dict(kwargs or {})
    on_meta = weights_on_meta(module)
    if not on_meta:
        return convert(_export(module, args, kwargs))
    fill_weight = fill_weight_of(module)
    if fill_weight is None:
        raise ExportError(
            f"weight {next(iter(on_meta))!r} has no values (it lies on the meta device); load the model's weights "
            "first, or give the module a fill_weight(name, place) that writes them"
        )
    captured = convert(_export(*as_on_cpu(module, args, kwargs)), on_meta)
    return replace(captured, fill_weight=fill_weight)


def _export(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    name = type(module).__name__
    try:
        with torch.no_grad(), masks_as_in_eager(), _quiet_failures(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*were assigned during export", category=UserWarning)
            return torch.export.export(module, args, kwargs, strict=False)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"cannot export {name}{_place(error)}: {_reason(error)}") from error


@contextmanager
def _quiet_failures() -> Iterator[None]:
    """Keeps what torch logs and prints about a failing export (graphs, tracebacks) away: the error says it in a line.
    What a succeeding export prints appears after it."""
    level, printed = logging.root.manager.disable, io.StringIO()
    logging.disable(max(level, logging.ERROR))
    try:
        with redirect_stderr(printed):
            yield
        sys.stderr.write(printed.getvalue())
    finally:
        logging.disable(level)


def _reason(error: Exception) -> str:
    """The first line of torch's message, and the remedy for the failures that users meet most."""
    text = str(error).strip() or type(error).__name__
    line = next(line.strip() for line in text.splitlines() if line.strip())
    if "data-dependent" in text or "DataDependent" in type(error).__name__:
        return f"control flow depends on a tensor's value ({line[:300]})"
    if "Cache" in text and "pytree" in text:
        return f"it returns a cache object; set config.use_cache = False ({line[:300]})"
    return line[:400]


def _place(error: Exception) -> str:
    """The source line of the model at which tracing failed: the innermost one outside PyTorch."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/torch/" not in frame.filename.replace("\\", "/")
        and "deepplan/export/" not in frame.filename
        and frame.line
    ]
    return f" at {frames[-1].filename}:{frames[-1].lineno} `{str(frames[-1].line)[:100]}`" if frames else ""
