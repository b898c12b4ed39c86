"""The protocol over HTTP. Source: Open Inference Protocol v2, REST, and Triton's extensions of it."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from aiohttp import web

from deepplan.planning.records import refusal
from deepplan.server.deadlines import timeout
from deepplan.server.descriptions import model_config, model_metadata, server_metadata
from deepplan.server.failures import Failure, ForeignOriginError, failure_of
from deepplan.server.hosts import is_loopback, is_nobodys_name
from deepplan.server.http_body import read_body
from deepplan.server.metrics import exposition
from deepplan.server.request_log import logger
from deepplan.server.rest_request import HEADER_LENGTH, parse_infer, parse_object
from deepplan.server.rest_response import write_infer
from deepplan.server.routes import add_not_found, add_route
from deepplan.server.service import Service
from deepplan.server.trace_context import valid_traceparent

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SMALL_BODY_BYTES = 65_536  # of requests that carry no tensors, and of answers that the system takes at once
_OPEN = frozenset(["/v2/health/live", "/v2/health/ready"])
_JSON = {"Content-Type": "application/json"}
_BINARY = {"Content-Type": "application/octet-stream"}


class HttpFront:
    """The handlers. Other pages may be added to `application` before it runs; paths in `open_paths` need no token."""

    def __init__(self, service: Service, *, open_paths: frozenset[str] = frozenset()) -> None:
        self._service = service
        self._open_paths = _OPEN | open_paths
        # Nothing but where it listens protects it then.
        self._only_local = service.settings.token is None and is_loopback(service.settings.host)
        self.application = web.Application(middlewares=[self._guard])
        self._add_routes()

    def _add_routes(self) -> None:
        application = self.application
        add_route(application, "/v2/models/stats", get=self._all_statistics)  # before a model of that name
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            add_route(application, model, get=self._model_metadata)
            add_route(application, f"{model}/infer", post=self._infer)
            add_route(application, f"{model}/ready", get=self._model_ready)
            add_route(application, f"{model}/config", get=self._model_config)
            add_route(application, f"{model}/stats", get=self._model_statistics)
        for path in ("/v2", "/v2/"):
            add_route(application, path, get=self._server_metadata)
        add_route(application, "/v2/health/live", get=self._live)
        add_route(application, "/v2/health/ready", get=self._ready)
        add_route(application, "/v2/repository/index", post=self._index)
        add_route(application, "/v2/repository/models/{model}/load", post=self._load)
        add_route(application, "/v2/repository/models/{model}/unload", post=self._unload)
        add_route(application, "/metrics", get=self._metrics)
        add_not_found(application)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The token, the trace, and every error as JSON."""
        try:
            if request.path not in self._open_paths:
                self._service.check_token(request.headers.get("Authorization"))
                self._check_page(request)
            response = await handler(request)
        except web.HTTPException as error:  # no such path, or not by this method
            response = json_answer({"error": f"{request.method} {request.path[:200]}: {error.reason}"}, error.status)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except Exception as error:
            failure = failure_of(error)
            if failure.unexpected:
                logger.exception("a request failed in the server itself")
            response = _refusal(failure)
        if not response.prepared:
            _carry_trace(request, response)
        return response

    def _check_page(self, request: web.Request) -> None:
        """Browsers send some requests for any page, to servers on loopback too, and name the page's host."""
        origin, host = request.headers.get("Origin"), request.headers.get("Host")
        if origin is not None and origin.partition("://")[2] != host:
            raise ForeignOriginError("the request comes from the page of another server")
        if self._only_local and host is not None and not is_nobodys_name(host):
            raise ForeignOriginError(
                f"this server is for its own machine: ask localhost or an address instead of {host[:80]!r}, "
                "or start it with a token"
            )

    async def _infer(self, request: web.Request) -> web.Response:
        service, headers, match = self._service, request.headers, request.match_info
        traceparent = valid_traceparent(headers.get("traceparent"))
        with service.exchange("http", match["model"], match.get("version", ""), traceparent) as exchange:
            signature = exchange.admit()
            limit_bytes = min(signature.body_limit_bytes, service.settings.max_body_bytes)
            body = await read_body(request, limit_bytes, service.settings.body_timeout_s)
            call = parse_infer(body, headers.get(HEADER_LENGTH), signature)
            inference = await exchange.run(call.inputs)
            answer, json_bytes = await write_infer(signature.model.name, call.id, call.outputs, inference)
            headers_of_answer = _JSON if json_bytes is None else {**_BINARY, HEADER_LENGTH: str(json_bytes)}
            response = web.Response(body=answer, headers=headers_of_answer)
            _carry_trace(request, response)
            await _send(request, response, service.settings.body_timeout_s)
        return response

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self._service.ready else 503)

    async def _server_metadata(self, request: web.Request) -> web.Response:
        return json_answer(server_metadata())

    async def _model_ready(self, request: web.Request) -> web.Response:
        ready = self._service.model_ready(*_model_of(request))
        return web.Response(status=200 if ready else 503)

    async def _model_metadata(self, request: web.Request) -> web.Response:
        return json_answer(model_metadata(self._service.repository.signature(*_model_of(request)).model))

    async def _model_config(self, request: web.Request) -> web.Response:
        return json_answer(model_config(self._service.repository.signature(*_model_of(request)).model))

    async def _model_statistics(self, request: web.Request) -> web.Response:
        return json_answer({"model_stats": self._service.statistics_json(*_model_of(request))})

    async def _all_statistics(self, request: web.Request) -> web.Response:
        return json_answer({"model_stats": self._service.statistics_json()})

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = await exposition(self._service, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _index(self, request: web.Request) -> web.Response:
        ready = (await self._small_body(request)).get("ready", False)
        if not isinstance(ready, bool):
            raise refusal("ready", ready, "true or false")
        return json_answer([asdict(entry) for entry in self._service.repository.index(ready_only=ready)])

    async def _load(self, request: web.Request) -> web.Response:
        self._service.repository.load(request.match_info["model"], await self._parameters(request))
        return web.Response()

    async def _unload(self, request: web.Request) -> web.Response:
        await self._parameters(request)
        await self._service.unload(request.match_info["model"])
        return web.Response()

    async def _parameters(self, request: web.Request) -> Mapping[str, Any]:
        parameters = (await self._small_body(request)).get("parameters", {})
        if not isinstance(parameters, dict):
            raise refusal("parameters", parameters, "an object")
        return parameters

    async def _small_body(self, request: web.Request) -> dict[str, Any]:
        body = await read_body(request, _SMALL_BODY_BYTES, self._service.settings.body_timeout_s)
        return parse_object(body) if body else {}


def _carry_trace(request: web.Request, response: web.StreamResponse) -> None:
    traceparent = valid_traceparent(request.headers.get("traceparent"))
    if traceparent is not None:
        response.headers["traceparent"] = traceparent


async def _send(request: web.Request, response: web.Response, timeout_s: float) -> None:
    """Returns when the client has read it, but for what lies on the way; raises CancelledError when it has left or took
    longer. An answer that waits to be read takes memory: its request is under way until then.
    """
    small = isinstance(response.body, bytes) and len(response.body) <= _SMALL_BODY_BYTES
    try:
        async with nullcontext() if small else timeout(timeout_s):  # a small one never waits
            await response.prepare(request)
            await response.write_eof()
    except (asyncio.TimeoutError, ConnectionError):
        if request.transport is not None:
            request.transport.abort()  # half an answer can only be broken off
        raise asyncio.CancelledError from None


def json_answer(content: Any, status: int = 200) -> web.Response:
    """A response of JSON."""
    return web.Response(body=json.dumps(content, separators=(",", ":")).encode(), status=status, headers=_JSON)


def _refusal(failure: Failure) -> web.Response:
    response = json_answer({"error": failure.message}, failure.http_status)
    if failure.retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(failure.retry_after_s)))
    if failure.http_status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _model_of(request: web.Request) -> tuple[str, str]:
    return request.match_info["model"], request.match_info.get("version", "")
