"""Checks that loading a `.pt2` file runs nothing but operators.

`torch.export.load` runs code where the file asks for it: it unpickles weights, constants and sample inputs, compiles
what the program's names and expressions say, and loads compiled libraries. A file is accepted if it asks for none of
these; everything is looked at through the reader that loads it later.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any

import torch

from deepplan.errors import DocumentError
from deepplan.export.pt2_program import check_program
from deepplan.export.untrusted import REMEDY

_PAYLOAD = re.compile(r"(weight|tensor)_\d+", re.ASCII)  # raw bytes; every other payload is an object


def check_pt2(path: str) -> None:
    """Raises DocumentError, naming what it found, unless the archive at `path` can be loaded without running code."""
    try:
        archive = torch._C.PyTorchFileReader(path)
        records = archive.get_all_records()
    except RuntimeError as error:
        raise DocumentError(f"{path} is not a .pt2 file: {str(error).splitlines()[0][:200]}") from None
    models = [name for name in records if name.startswith("models/")]
    if models != ["models/model.json"] or len(set(records)) != len(records):
        raise DocumentError(f"{path} must hold one exported model, named 'model'; found {models[:3]}")
    try:
        for name in records:
            _check_record(name, archive)
    except DocumentError as error:
        raise DocumentError(f"{path}: {error}; {REMEDY}") from None
    except RuntimeError as error:
        raise DocumentError(f"{path} is damaged: {str(error).splitlines()[0][:200]}") from None


def _check_record(name: str, archive: Any) -> None:
    if name.startswith("data/aotinductor/"):
        raise DocumentError(f"it holds compiled code ({name})")
    if name.startswith(("data/weights/", "data/constants/")):
        if name.endswith(".pt"):
            raise DocumentError(f"it holds a pickled object ({name})")
        if name.endswith(".json"):
            _check_payloads(name, _parse(name, archive.get_record(name)))
    elif name.startswith("data/sample_inputs/"):
        _check_sample_inputs(name, archive.get_record(name))
    elif name.startswith("models/"):
        check_program(_parse(name, archive.get_record(name)))


def _check_payloads(name: str, data: Any) -> None:
    config = data.get("config") if isinstance(data, dict) else None
    if not isinstance(config, dict) or not all(isinstance(payload, dict) for payload in config.values()):
        raise DocumentError(f"{name} is damaged")
    for payload in config.values():
        path_name = str(payload.get("path_name"))
        if payload.get("use_pickle") is not False or not _PAYLOAD.fullmatch(path_name):
            raise DocumentError(f"it holds a pickled object ({name}: {path_name[:40]})")
    check_program(data)


def _check_sample_inputs(name: str, record: bytes) -> None:
    """torch falls back to plain unpickling where its safe reader fails: so that must succeed."""
    if not record:
        return
    try:
        torch.load(io.BytesIO(record), weights_only=True)
    except Exception:
        raise DocumentError(f"it holds sample inputs that only unpickling reads ({name})") from None


def _parse(name: str, record: bytes) -> Any:
    try:
        return json.loads(record)
    except (ValueError, RecursionError):
        raise DocumentError(f"{name} is no JSON") from None
