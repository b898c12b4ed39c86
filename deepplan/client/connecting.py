"""Which transport a URL asks for."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from urllib.parse import urlsplit

from deepplan.client.inputs import INTEGERS_BELOW, make_inputs
from deepplan.client.transport import Inputs, Target, Transport
from deepplan.errors import InvalidInputError
from deepplan.serving.inference import TensorData

_SCHEMES = ("http", "https", "grpc", "grpcs")


def check_url(url: str, *, encrypted: bool = False) -> None:
    """Raises InvalidInputError for what is no server's URL, or one whose traffic is not encrypted where it must be."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment or (parts.scheme.startswith("grpc") and parts.path not in ("", "/")):
        raise InvalidInputError(
            f"{url!r} is no server's URL; name one such as http://127.0.0.1:8000 or grpc://host:8001"
        )
    if "@" in parts.netloc:
        raise InvalidInputError(
            f"no user can be named in the URL of {parts.hostname}; give the server's token by itself"
        )
    if encrypted and parts.scheme not in ("https", "grpcs"):
        raise InvalidInputError(f"{url} is not encrypted, so that a CA means nothing; name an https or grpcs URL")


def connect(url: str, *, token: str | None = None, ca: bytes | None = None) -> AbstractAsyncContextManager[Transport]:
    """A transport to the server at `url`; `token` is a bearer token, `ca` PEM certificates to trust instead of the
    system's. Entering it raises UnavailableError unless the server is ready.

    Raises InvalidInputError for a URL of another kind, or where the protocol's library is not installed.
    """
    check_url(url, encrypted=ca is not None)
    if token is not None and (not token.isascii() or not token.isprintable() or " " in token or not token):
        raise InvalidInputError("the bearer token must be one line of ASCII without blanks")
    if ca is not None:
        _check_ca(ca)
    try:
        if urlsplit(url).scheme.startswith("grpc"):
            from deepplan.client.grpc_transport import connect_grpc

            return connect_grpc(url, token=token, ca=ca)
        from deepplan.client.http_transport import connect_http

        return connect_http(url, token=token, ca=ca)
    except ModuleNotFoundError as error:
        raise InvalidInputError(f"{error.name} is not installed; install it by pip install 'deepplan[serve]'") from None


def _check_ca(ca: bytes) -> None:
    try:
        ssl.create_default_context(cadata=ca.decode())
    except (ssl.SSLError, ValueError):
        raise InvalidInputError("the CA is no certificate that can be read; give it as PEM") from None


async def make_targets(
    transport: Transport,
    instances: Sequence[tuple[str, str]],
    *,
    inputs: Mapping[str, Inputs] | None = None,
    seed: int = 0,
    integers_below: int = INTEGERS_BELOW,
) -> list[Target]:
    """What to send to each of `instances`, pairs of its name and its model's; all of one model are sent the same.

    That is what `inputs` has for the model; without it the model's first instance is asked how it is called. Raises
    what `Transport.metadata` and `make_inputs` raise.
    """
    sent = {model: tuple(map(_with_bytes, tensors)) for model, tensors in (inputs or {}).items()}
    for name, model in instances:
        if model not in sent:
            sent[model] = make_inputs(await transport.metadata(name), seed=seed, integers_below=integers_below)
    return [Target(name, model, sent[model]) for name, model in instances]


def _with_bytes(tensor: TensorData) -> TensorData:
    """With data that never change, as transports take them."""
    return replace(tensor, data=bytes(tensor.data))
