"""The body of a REST inference request: JSON, followed by the bytes of those tensors that are sent as bytes.

Protocol: Open Inference Protocol v2 with the binary tensor data extension.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from deepplan.errors import InvalidInputError
from deepplan.planning.records import refusal
from deepplan.server.failures import TooLargeError
from deepplan.server.tensors import InferCall, SentTensor, Signature, check_parameters

HEADER_LENGTH = "Inference-Header-Content-Length"
_NOTHING: Mapping[str, Any] = {}


def parse_infer(body: bytes, header_length: str | None, signature: Signature) -> InferCall:
    """The request in `body`, checked; `header_length` is what HEADER_LENGTH says, in bytes of JSON.

    Binary tensors stay views of `body`. Raises InvalidInputError.
    """
    length = _json_length(body, header_length)
    if length > signature.json_limit_bytes:
        raise TooLargeError(
            f"the JSON of the request has {length} bytes and that of {signature.model.name!r} may have "
            f"{signature.json_limit_bytes}; send tensors as binary data"
        )
    request = parse_object(body[:length])
    parameters = _parameters_of(request, "the request")
    check_parameters(parameters)
    identifier = request.get("id", "")
    if not isinstance(identifier, str):
        raise refusal("id", identifier, "text")
    sent = _read_inputs(request, memoryview(body)[length:])
    binary = _flag(parameters, "binary_data_output", False)
    names = [_read_output(output, binary) for output in _list_of_objects(request, "outputs")]
    return InferCall(identifier, signature.bind(sent), signature.request(names, binary=binary))


def parse_object(text: bytes) -> dict[str, Any]:
    """The JSON object in `text`; raises InvalidInputError.

    NaN and Infinity are taken for numbers, which JSON does not have, since clients send them.
    """
    try:
        value = json.loads(str(text, "utf-8"))
    except RecursionError:
        raise InvalidInputError("the JSON of the request is nested too deeply") from None
    except ValueError as error:  # the decoder's, a number of thousands of digits, or not UTF-8
        raise InvalidInputError(f"the request is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInputError("the request is JSON, but not an object")
    return value


def _json_length(body: bytes, header_length: str | None) -> int:
    if header_length is None:
        return len(body)
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= 12):
        raise refusal(HEADER_LENGTH, header_length, "a number of bytes")
    length = int(header_length)
    if length > len(body):
        raise refusal(HEADER_LENGTH, length, f"at most {len(body)}, the bytes of the body")
    return length


def _read_inputs(request: dict[str, Any], binary: memoryview) -> list[SentTensor]:
    sent = []
    offset = 0
    if "inputs" not in request:
        raise InvalidInputError("the request has no inputs")
    for tensor in _list_of_objects(request, "inputs"):
        parameters = _parameters_of(tensor, "an input")
        check_parameters(parameters)
        data = tensor.get("data")
        size = parameters.get("binary_data_size")
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(binary) - offset:
                left = len(binary) - offset
                raise refusal("binary_data_size", size, f"from 0 to {left}, the bytes that are left after the JSON")
            if "data" in tensor:
                raise InvalidInputError("an input has both data and a binary_data_size; send one of them")
            data = binary[offset : offset + size]
            offset += size
        elif not isinstance(data, list):
            raise refusal("an input's data", data, "a list, or else the input has a binary_data_size")
        sent.append(SentTensor(tensor.get("name"), tensor.get("datatype"), tensor.get("shape"), data))
    if offset != len(binary):
        raise InvalidInputError(
            f"{len(binary)} bytes follow the JSON and the inputs' binary_data_size add up to {offset}"
        )
    return sent


def _read_output(output: dict[str, Any], binary: bool) -> tuple[Any, bool]:
    parameters = _parameters_of(output, "an output")
    check_parameters(parameters)
    return output.get("name"), _flag(parameters, "binary_data", binary)


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise refusal(name, value, "true or false")
    return value


def _parameters_of(holder: dict[str, Any], what: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters", _NOTHING)
    if not isinstance(parameters, dict) and parameters is not _NOTHING:
        raise refusal(f"parameters of {what}", parameters, "an object")
    return parameters


def _list_of_objects(request: dict[str, Any], key: str) -> list[dict[str, Any]]:
    values = request.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise refusal(key, values, "a list of objects")
    return values
