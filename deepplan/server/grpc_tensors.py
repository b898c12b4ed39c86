"""Inference requests and responses of gRPC: the same checks as HTTP's, other clothes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepplan.errors import InvalidInputError
from deepplan.server.grpc_messages import message
from deepplan.server.tensors import InferCall, RequestedOutput, SentTensor, Signature, check_parameters
from deepplan.serving.inference import Inference

_RESPONSE = message("ModelInferResponse")
_PARAMETER = message("InferParameter")
_OUTPUT = _RESPONSE.InferOutputTensor

# Which of the typed fields carries a datatype; the 16-bit floating point types have none.
_TYPED_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def read_infer(request: Any, signature: Signature) -> InferCall:
    """A ModelInferRequest, checked; raises InvalidInputError."""
    check_parameters(request.parameters)
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInputError(
            f"{len(raw)} raw_input_contents and {len(request.inputs)} inputs; send one for each, or none and contents"
        )
    sent = []
    for position, tensor in enumerate(request.inputs):
        check_parameters(tensor.parameters)
        if raw and tensor.HasField("contents"):
            raise InvalidInputError("an input has contents beside raw_input_contents; send one of them")
        data = raw[position] if raw else _typed(tensor)
        sent.append(SentTensor(tensor.name, tensor.datatype, list(tensor.shape), data))
    for output in request.outputs:
        check_parameters(output.parameters)
    names = [(output.name, True) for output in request.outputs]
    return InferCall(request.id, signature.bind(sent), signature.request(names, binary=True))


def write_infer(model: str, identifier: str, wanted: Sequence[RequestedOutput], inference: Inference) -> Any:
    """A ModelInferResponse, whose outputs are always raw; its parameters are those of the REST answer."""
    by_name = {tensor.name: tensor for tensor in inference.outputs}
    return _RESPONSE(
        model_name=model,
        model_version="1",
        id=identifier,
        parameters={
            "cold": _PARAMETER(bool_param=inference.cold),
            "queue_ms": _PARAMETER(double_param=inference.queue_ms),
            "run_ms": _PARAMETER(double_param=inference.run_ms),
        },
        outputs=[_OUTPUT(name=spec.name, datatype=spec.datatype, shape=spec.shape) for spec, _ in wanted],
        raw_output_contents=[bytes(by_name[spec.name].data) for spec, _ in wanted],
    )


def _typed(tensor: Any) -> Sequence[Any]:
    """The elements in the one field of the tensor's type, as protobuf holds them: their number is not checked yet."""
    field = _TYPED_FIELDS.get(tensor.datatype)
    if field is None:
        raise InvalidInputError(f"an input of datatype {tensor.datatype[:20]!r} must be sent in raw_input_contents")
    filled = [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
    if any(name != field for name in filled):
        raise InvalidInputError(
            f"an input of {tensor.datatype} has its elements in {', '.join(filled)}, not in {field}"
        )
    elements: Sequence[Any] = getattr(tensor.contents, field)
    return elements
