"""The Open Inference Protocol v2 over HTTP, tensors in the binary form, on kept connections."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from deepplan.client.transport import REFUSED, Inputs, Outcome, answered, failed
from deepplan.errors import ServingError, UnavailableError, UnknownNameError
from deepplan.planning.records import field_types
from deepplan.serving.inference import ModelMetadata, TensorSpec
from deepplan.serving.messages import read

_JSON_LENGTH = "Inference-Header-Content-Length"


@asynccontextmanager
async def connect_http(url: str, *, token: str | None, ca: bytes | None) -> AsyncIterator[HttpTransport]:
    """A transport to the server at `url` (http or https); raises UnavailableError unless that is ready."""
    tls = True if ca is None else ssl.create_default_context(cadata=ca.decode())
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    # The sender bounds concurrency. A kept connection is dropped before most servers would drop it.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=10, ssl=tls)
    timeout = aiohttp.ClientTimeout(total=None)  # the sender's, too
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        transport = HttpTransport(url, session)
        await transport.check_ready()
        yield transport


class HttpTransport:
    """Requests over one session. Make it by `connect_http`."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url.rstrip("/"), session
        self._infer_url = cache(lambda model: self._model_url(model, "/infer"))

    async def check_ready(self) -> None:
        status, body = await self._get(URL(f"{self._url}/v2/health/ready"))
        if status in (401, 403):
            raise ServingError(f"{self._url} does not let us in ({_error(status, body)}); pass its bearer token")
        if status != 200:
            raise UnavailableError(f"the server at {self._url} is not ready ({_error(status, body)}); wait until it is")

    async def metadata(self, model: str) -> ModelMetadata:
        status, body = await self._get(self._model_url(model))
        if status in (400, 404):
            raise UnknownNameError(f"the server at {self._url} has no model {model!r} ({_error(status, body)})")
        if status != 200:
            raise ServingError(f"the server at {self._url} does not describe {model!r} ({_error(status, body)})")
        try:
            described = json.loads(body)
            return ModelMetadata(model, _specs(described["inputs"]), _specs(described["outputs"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ServingError(f"{self._url} describes {model!r} otherwise than the protocol v2 does") from None

    async def infer(self, model: str, inputs: Inputs) -> Outcome:
        body, headers = _encode(inputs)
        try:
            async with self._session.post(self._infer_url(model), data=body, headers=headers) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            return failed(f"{type(error).__name__}: {error}")
        if response.status == 429:
            return REFUSED
        if response.status != 200:
            return failed(_error(response.status, content))
        try:
            described = json.loads(content[: int(response.headers.get(_JSON_LENGTH, len(content)))])
            return answered(described.get("parameters", {}))
        except (ValueError, AttributeError):
            return failed("HTTP 200 with an answer that is not of the protocol v2")

    async def _get(self, url: URL) -> tuple[int, bytes]:
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=10)) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise UnavailableError(f"no server answers at {self._url} ({why}); start one, or name its URL") from None

    def _model_url(self, model: str, rest: str = "") -> URL:
        return URL(f"{self._url}/v2/models/{quote(model, safe='')}{rest}", encoded=True)


@lru_cache(maxsize=256)
def _encode(inputs: Inputs) -> tuple[bytes, dict[str, str]]:
    """The body of a request and its headers."""
    request = {
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": tensor.shape,
                "parameters": {"binary_data_size": len(tensor.data)},
            }
            for tensor in inputs
        ],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(request).encode()
    headers = {_JSON_LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}
    return b"".join([text, *(tensor.data for tensor in inputs)]), headers


def _specs(tensors: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    """Raises ValueError, KeyError or TypeError for anything else; it comes from who knows what server."""
    keys = field_types(TensorSpec)
    return tuple(read(TensorSpec, {key: tensor[key] for key in keys}, "a tensor") for tensor in tensors)


def _error(status: int, body: bytes) -> str:
    """What the server said, in the protocol's form or in its own."""
    text = body[:1000].decode(errors="replace")
    with suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(body)["error"])
    return f"HTTP {status}: {text}" if text else f"HTTP {status}"
