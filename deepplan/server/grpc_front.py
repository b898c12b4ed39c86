"""The protocol over gRPC. Source: Open Inference Protocol v2, gRPC, and Triton's extensions of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from deepplan.errors import InvalidInputError
from deepplan.server.deadlines import timeout
from deepplan.server.descriptions import model_config, model_metadata, server_metadata
from deepplan.server.failures import Failure, SlowClientError, failure_of
from deepplan.server.grpc_messages import SERVICE, message, methods
from deepplan.server.grpc_stream import answer_stream
from deepplan.server.grpc_tensors import read_infer, write_infer
from deepplan.server.request_log import logger
from deepplan.server.service import Service
from deepplan.server.trace_context import valid_traceparent

Method = Callable[[Any, "str | None"], Awaitable[Any]]  # a request or a call, and its traceparent, to the answer

_STREAMED = message("ModelStreamInferResponse")
_OPEN = frozenset(["ServerLive", "ServerReady"])


class GrpcFront:
    """Each method of the service is the method of this class of that name; it returns the fields of its response."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server of `grpc.aio` is given."""
        handlers = {}
        for name, (request, response) in methods().items():
            act: Method
            if name == "ModelStreamInfer":
                kind, act = grpc.stream_stream_rpc_method_handler, self._stream
            else:
                # As a stream of one, the same on the wire: only so can a request that does not come be given up.
                kind, act = grpc.stream_unary_rpc_method_handler, self._once(name, response, getattr(self, name))
            handlers[name] = kind(
                self._guarded(name, act),
                request_deserializer=_lenient(request),
                response_serializer=response.SerializeToString,
            )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _guarded(self, name: str, act: Method) -> Callable[[Any, Any], Awaitable[Any]]:
        """`act`, of a call's context, with the token, the trace and every error of the call seen to."""

        async def call(_: Any, context: Any) -> Any:
            metadata = dict(context.invocation_metadata())
            traceparent = valid_traceparent(metadata.get("traceparent"))
            trailing = [] if traceparent is None else [("traceparent", traceparent)]
            try:
                if name not in _OPEN:
                    self._service.check_token(metadata.get("authorization"))
                answer = await act(context, traceparent)
            except Exception as error:
                failure = _logged_failure(error)
                if failure.retry_after_s is not None:
                    trailing.append(("retry-after-ms", str(max(1, math.ceil(failure.retry_after_s * 1e3)))))
                await context.abort(grpc.StatusCode[failure.grpc_code], failure.message, tuple(trailing))
            if trailing:
                context.set_trailing_metadata(tuple(trailing))
            return answer

        return call

    def _once(self, name: str, response: Any, method: Method) -> Method:
        """One request of a call, and its response."""

        async def act(context: Any, traceparent: str | None) -> Any:
            answer = await method(_message(name, await self._receive(context)), traceparent)
            return response(**answer) if isinstance(answer, dict) else answer

        return act

    async def _stream(self, context: Any, traceparent: str | None) -> None:
        """Requests of a call and their responses; one that fails has the failure for its response."""

        async def answer(request: Any) -> Any:
            try:
                response = await self.ModelInfer(_message("ModelStreamInfer", request), traceparent)
                response.parameters["triton_final_response"].bool_param = True  # Triton's: nothing follows for this id
                return _STREAMED(infer_response=response)
            except Exception as error:
                identifier = "" if request is None else request.id
                return _STREAMED(error_message=_logged_failure(error).message, infer_response={"id": identifier})

        await answer_stream(context, answer, self._service.settings.idle_timeout_s)

    async def _receive(self, context: Any) -> Any:
        """The request; None where it is no such message or does not come at all."""
        timeout_s = self._service.settings.body_timeout_s
        try:
            async with timeout(timeout_s):
                request = await context.read()
        except asyncio.TimeoutError:
            raise SlowClientError(f"the request took longer than {timeout_s:g} s to come") from None
        return None if request is grpc.aio.EOF else request

    async def ModelInfer(self, request: Any, traceparent: str | None) -> Any:  # noqa: N802 (names of the protocol)
        with self._service.exchange("grpc", request.model_name, request.model_version, traceparent) as exchange:
            signature = exchange.admit()
            call = read_infer(request, signature)
            inference = await exchange.run(call.inputs)
            return write_infer(signature.model.name, call.id, call.outputs, inference)

    async def ServerLive(self, request: Any, _: str | None) -> dict[str, Any]:  # noqa: N802
        return {"live": True}

    async def ServerReady(self, request: Any, _: str | None) -> dict[str, Any]:  # noqa: N802
        return {"ready": self._service.ready}

    async def ModelReady(self, request: Any, _: str | None) -> dict[str, Any]:  # noqa: N802
        return {"ready": self._service.model_ready(request.name, request.version)}

    async def ServerMetadata(self, request: Any, _: str | None) -> dict[str, Any]:  # noqa: N802
        return server_metadata()

    async def ModelMetadata(self, request: Any, _: str | None) -> dict[str, Any]:  # noqa: N802
        return model_metadata(self._service.repository.signature(request.name, request.version).model)

    async def ModelConfig(self, request: Any, _: str | None) -> dict[str, Any]:  # noqa: N802
        return {"config": model_config(self._service.repository.signature(request.name, request.version).model)}

    async def ModelStatistics(self, request: Any, _: str | None) -> dict[str, Any]:  # noqa: N802
        found = self._service.statistics_json(request.name, request.version)
        for statistics in found:
            del statistics["cold_starts"]  # the public message has no field for it
        return {"model_stats": found}

    async def RepositoryIndex(self, request: Any, _: str | None) -> dict[str, Any]:  # noqa: N802
        return {"models": [asdict(entry) for entry in self._service.repository.index(ready_only=request.ready)]}

    async def RepositoryModelLoad(self, request: Any, _: str | None) -> dict[str, Any]:  # noqa: N802
        self._service.repository.load(request.model_name, request.parameters)
        return {}

    async def RepositoryModelUnload(self, request: Any, _: str | None) -> dict[str, Any]:  # noqa: N802
        await self._service.unload(request.model_name)
        return {}


def _message(name: str, request: Any) -> Any:
    """`request`; raises InvalidInputError where `_lenient` or `_receive` had none."""
    if request is None:
        raise InvalidInputError(f"the request is not the message that {name} takes")
    return request


def _logged_failure(error: Exception) -> Failure:
    failure = failure_of(error)
    if failure.unexpected:
        logger.exception("a request failed in the server itself", exc_info=error)
    return failure


def _lenient(request: Any) -> Callable[[bytes], Any]:
    """Gives None for what is no such message: gRPC would call that an internal error of ours."""

    def deserialize(data: bytes) -> Any:
        try:
            return request.FromString(data)
        except DecodeError:
            return None

    return deserialize
