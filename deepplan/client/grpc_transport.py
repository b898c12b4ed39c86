"""The Open Inference Protocol v2 over gRPC, tensors in raw form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio

from deepplan.client.grpc_messages import message
from deepplan.client.transport import REFUSED, Inputs, Outcome, answered, failed
from deepplan.errors import ServingError, UnavailableError, UnknownNameError
from deepplan.serving.inference import ModelMetadata, TensorSpec

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that comes back is found again at once; by default it is looked for ever more rarely.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_InferRequest, _InferResponse = message("ModelInferRequest"), message("ModelInferResponse")


@asynccontextmanager
async def connect_grpc(url: str, *, token: str | None, ca: bytes | None) -> AsyncIterator[GrpcTransport]:
    """A transport to the server at `url` (grpc or grpcs); raises UnavailableError unless that is ready."""
    parts = urlsplit(url)
    if parts.scheme == "grpcs":
        channel = grpc.aio.secure_channel(parts.netloc, grpc.ssl_channel_credentials(ca), options=_OPTIONS)
    else:
        channel = grpc.aio.insecure_channel(parts.netloc, options=_OPTIONS)
    async with channel:
        transport = GrpcTransport(url, channel, token)
        await transport.check_ready()
        yield transport


class GrpcTransport:
    """Requests over one channel. Make it by `connect_grpc`."""

    def __init__(self, url: str, channel: Any, token: str | None) -> None:
        self._url, self._channel = url, channel
        self._headers = None if token is None else (("authorization", f"Bearer {token}"),)
        self._infer = channel.unary_unary(_path("ModelInfer"), response_deserializer=_InferResponse.FromString)

    async def check_ready(self) -> None:
        try:
            response = await self._call("ServerReady", message("ServerReadyRequest")())
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                raise ServingError(f"{self._url} does not let us in ({_error(error)}); pass its bearer token") from None
            raise UnavailableError(
                f"no server answers at {self._url} ({_error(error)}); start one, or name its URL"
            ) from None
        if not response.ready:
            raise UnavailableError(f"the server at {self._url} is not ready; wait until it is")

    async def metadata(self, model: str) -> ModelMetadata:
        try:
            described = await self._call("ModelMetadata", message("ModelMetadataRequest")(name=model))
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                raise UnknownNameError(f"the server at {self._url} has no model {model!r} ({_error(error)})") from None
            raise ServingError(f"the server at {self._url} does not describe {model!r} ({_error(error)})") from None
        return ModelMetadata(model, _specs(described.inputs), _specs(described.outputs))

    async def infer(self, model: str, inputs: Inputs) -> Outcome:
        # A message is its fields one after another, so what all instances of a model have in common is encoded once.
        request = _InferRequest(model_name=model).SerializeToString() + _encode(inputs)
        try:
            response = await self._infer(request, metadata=self._headers)
        except grpc.aio.AioRpcError as error:
            return REFUSED if _is_refusal(error) else failed(_error(error))
        return answered({entry.key: _value(entry.value) for entry in response.parameters})

    async def _call(self, name: str, request: Any) -> Any:
        response = message(name + "Response").FromString
        call = self._channel.unary_unary(_path(name), response_deserializer=response)
        return await call(request.SerializeToString(), metadata=self._headers, timeout=10)


def _is_refusal(error: grpc.aio.AioRpcError) -> bool:
    """Whether a server had no place for the request and says when it may. Too large a one has the same code."""
    says_when = any(key == "retry-after-ms" for key, _ in error.trailing_metadata() or ())
    return says_when and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@lru_cache(maxsize=256)
def _encode(inputs: Inputs) -> bytes:
    """A request without its model's name."""
    tensors = [{"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape} for tensor in inputs]
    encoded: bytes = _InferRequest(
        inputs=tensors, raw_input_contents=[bytes(tensor.data) for tensor in inputs]
    ).SerializeToString()
    return encoded


def _value(parameter: Any) -> object:
    """None for a type that we do not read."""
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def _path(name: str) -> str:
    return f"/inference.GRPCInferenceService/{name}"


def _specs(tensors: Iterable[Any]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors)


def _error(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}"
