"""The messages of the Open Inference Protocol v2 that a client needs, and of them the fields that it needs.

They live in a pool of descriptors of their own: names in the default pool are unique to a process, and tritonclient
registers its own `inference.*` there. What is not declared here is skipped when it is received.
Names and numbers: https://github.com/kserve/open-inference-protocol, specification/protocol/open_inference_grpc.proto.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_SCALARS = {
    "bool": Field.TYPE_BOOL,
    "int64": Field.TYPE_INT64,
    "string": Field.TYPE_STRING,
    "bytes": Field.TYPE_BYTES,
    "double": Field.TYPE_DOUBLE,
}

# The messages of which one field is set at most, by what the protocol calls the choice.
_CHOICES = {"InferParameter": "parameter_choice"}

# By message, each field's name, type and number; [] repeats. A map is sent as its entries are.
_MESSAGES = {
    "ServerReadyRequest": (),
    "ServerReadyResponse": (("ready", "bool", 1),),
    "ModelMetadataRequest": (("name", "string", 1),),
    "TensorMetadata": (("name", "string", 1), ("datatype", "string", 2), ("shape", "int64[]", 3)),
    "ModelMetadataResponse": (("inputs", "TensorMetadata[]", 4), ("outputs", "TensorMetadata[]", 5)),
    "InferTensor": (("name", "string", 1), ("datatype", "string", 2), ("shape", "int64[]", 3)),
    "ModelInferRequest": (
        ("model_name", "string", 1),
        ("inputs", "InferTensor[]", 5),
        ("raw_input_contents", "bytes[]", 7),
    ),
    "InferParameter": (("bool_param", "bool", 1), ("int64_param", "int64", 2), ("double_param", "double", 4)),
    "ParametersEntry": (("key", "string", 1), ("value", "InferParameter", 2)),
    "ModelInferResponse": (("parameters", "ParametersEntry[]", 4),),
}


def _declared() -> DescriptorPool:
    file = FileDescriptorProto(name="deepplan/client.proto", package="inference", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if name in _CHOICES:
            message.oneof_decl.add(name=_CHOICES[name])
        for field_name, kind, number in fields:
            base = kind.removesuffix("[]")
            field = message.field.add(name=field_name, number=number)
            field.label = Field.LABEL_OPTIONAL if base == kind else Field.LABEL_REPEATED
            field.type = _SCALARS.get(base, Field.TYPE_MESSAGE)
            if name in _CHOICES:
                field.oneof_index = 0
            if base not in _SCALARS:
                field.type_name = f".inference.{base}"
    pool = DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _declared()


def message(name: str) -> Any:
    """The class of a message."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"inference.{name}"))
