"""The messages are those that NVIDIA's client speaks, and the compiled file is of the text beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

grpc_messages = pytest.importorskip("deepplan.server.grpc_messages")


def fields_of(descriptor: Any) -> dict[str, tuple[Any, ...]]:
    """Each field's number, type and place; message and enum types by name."""
    return {
        field.name: (
            field.number,
            field.type,
            field.default_value == [],  # repeated
            field.containing_oneof.name if field.containing_oneof else None,
            (field.message_type or field.enum_type).full_name if field.message_type or field.enum_type else None,
        )
        for field in descriptor.fields
    }


def messages_under(descriptor: Any, found: dict[str, Any]) -> dict[str, Any]:
    """This message and every one that its fields hold."""
    if descriptor.full_name not in found:
        found[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                messages_under(field.message_type, found)
    return found


def test_names_and_numbers_are_the_public_ones() -> None:
    pytest.importorskip("tritonclient.grpc")
    from google.protobuf import descriptor_pool

    public = descriptor_pool.Default()
    service = public.FindServiceByName(grpc_messages.SERVICE)
    for name, pair in grpc_messages.methods().items():
        method = service.methods_by_name[name]
        assert method.client_streaming == method.server_streaming == (name == "ModelStreamInfer")
        for ours, theirs in zip(pair, (method.input_type, method.output_type)):
            assert ours.DESCRIPTOR.full_name == theirs.full_name
            for full_name, descriptor in messages_under(ours.DESCRIPTOR, {}).items():
                assert descriptor is not public.FindMessageTypeByName(full_name), "it is in a pool of its own"
                known = fields_of(public.FindMessageTypeByName(full_name))
                for field, described in fields_of(descriptor).items():
                    assert described == known[field], f"{full_name}.{field}"


def test_the_compiled_file_is_of_the_text(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc")
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    folder = Path(grpc_messages.__file__).parent
    compiled = tmp_path / "again.binpb"
    arguments = ["protoc", f"-I{folder}", f"--descriptor_set_out={compiled}", str(folder / "inference.proto")]
    assert protoc.main(arguments) == 0
    again, kept = (FileDescriptorSet.FromString(path.read_bytes()) for path in (compiled, folder / "inference.binpb"))
    assert again == kept
