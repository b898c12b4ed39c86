"""Inputs for a model of which only the metadata are known."""

from __future__ import annotations

from math import prod

import numpy as np

from deepplan.client.transport import Inputs
from deepplan.errors import InvalidInputError
from deepplan.serving.inference import ITEM_SIZE_BYTES, ModelMetadata, TensorData, TensorSpec

_MAX_BYTES = 1 << 30  # a server that asks for more is no reason to run out of memory
_MAX_DIMENSIONS = 32  # numpy's, before version 2
INTEGERS_BELOW = 1000  # token ids must lie in the vocabulary, and every vocabulary that we know is larger


def make_inputs(metadata: ModelMetadata, *, seed: int = 0, integers_below: int = INTEGERS_BELOW) -> Inputs:
    """One tensor for each input: floats are normal, integers uniform from 0 and below `integers_below`, bools true.

    So many different token ids that embeddings read in place are read as real requests read them. A dimension that the
    server leaves open (-1) is taken as 1. Raises InvalidInputError for data types that have no fixed size, and for
    shapes that are none or take over 1 GiB.
    """
    random = np.random.default_rng(seed)
    return tuple(_tensor(metadata.name, spec, random, integers_below) for spec in metadata.inputs)


def _tensor(model: str, spec: TensorSpec, random: np.random.Generator, integers_below: int) -> TensorData:
    if spec.datatype not in ITEM_SIZE_BYTES:
        raise InvalidInputError(
            f"{model} takes {spec.name} as {spec.datatype}, which cannot be made up; "
            f"call models whose inputs are {', '.join(ITEM_SIZE_BYTES)}"
        )
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    size_bytes = ITEM_SIZE_BYTES[spec.datatype] * prod(shape)
    if len(shape) > _MAX_DIMENSIONS or min(shape, default=0) < 0 or size_bytes > _MAX_BYTES:
        raise InvalidInputError(
            f"{model} takes {spec.name} of shape {spec.shape!s:.200}, which cannot be made up; give its inputs yourself"
        )
    return TensorData(spec.name, spec.datatype, shape, _data(spec.datatype, shape, random, integers_below))


def _data(datatype: str, shape: tuple[int, ...], random: np.random.Generator, integers_below: int) -> bytes:
    if datatype == "BOOL":  # masks: everything takes part
        return np.ones(shape, "?").tobytes()
    if datatype == "BF16":  # the upper half of an fp32
        return (random.standard_normal(shape, np.float32).view("<u4") >> 16).astype("<u2").tobytes()
    if datatype.startswith("FP"):
        return random.standard_normal(shape).astype(f"<f{ITEM_SIZE_BYTES[datatype]}").tobytes()
    kind = np.dtype(f"<{'u' if datatype.startswith('U') else 'i'}{ITEM_SIZE_BYTES[datatype]}")
    return random.integers(min(integers_below, np.iinfo(kind).max), size=shape).astype(kind).tobytes()
