"""What the server says of itself and of its models, as JSON objects; gRPC's messages have the same fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepplan import __version__
from deepplan.serving.inference import ModelMetadata, TensorSpec

_PLATFORM = "deepplan"
EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "statistics",
)


def server_metadata() -> dict[str, Any]:
    """The protocol's server metadata, with the extensions that are served."""
    return {"name": "deepplan", "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(model: ModelMetadata) -> dict[str, Any]:
    """The protocol's model metadata; shapes are exact."""
    return {
        "name": model.name,
        "versions": ["1"],
        "platform": _PLATFORM,
        "inputs": [_tensor_metadata(spec) for spec in model.inputs],
        "outputs": [_tensor_metadata(spec) for spec in model.outputs],
    }


def model_config(model: ModelMetadata) -> dict[str, Any]:
    """The part of Triton's model configuration that means something here.

    `max_batch_size` 0 says that clients do not batch: shapes are whole. That the engine does is not theirs to know.
    """
    return {
        "name": model.name,
        "platform": _PLATFORM,
        "backend": _PLATFORM,
        "max_batch_size": 0,
        "input": _tensor_configs(model.inputs),
        "output": _tensor_configs(model.outputs),
    }


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _tensor_configs(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "data_type": f"TYPE_{spec.datatype}", "dims": list(spec.shape)} for spec in specs]
