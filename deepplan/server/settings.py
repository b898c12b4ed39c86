"""How a server listens and what it puts up with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from deepplan.errors import InvalidInputError
from deepplan.planning.records import Count, PositiveBytes, Range, Record

Port = Annotated[int, Range(0, 65_535)]
Seconds = Annotated[float, Range(1e-3, 1e6)]


@dataclass(frozen=True)
class ServerSettings(Record):
    """Raises InvalidInputError naming the field and the value.

    Port 0 takes any that is free; `grpc_port` None means no gRPC. With a `token`, every request but those for health
    and the page itself must carry it (`Authorization: Bearer TOKEN`). `certificate_file` and `key_file` (PEM) turn TLS
    on for both fronts. `max_body_bytes` is of a body after decompression; of what one model needs there is a closer
    limit. Requests beyond `max_concurrent_requests` are refused at once. A connection to HTTP that brings no whole head
    of a request for `idle_timeout_s` is closed, and a stream of gRPC on which nothing happens.
    """

    host: str = "127.0.0.1"
    http_port: Port = 8000
    grpc_port: Port | None = 8001
    token: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    max_body_bytes: PositiveBytes = 64 << 20
    max_concurrent_requests: Count = 1024
    body_timeout_s: Seconds = 30.0
    idle_timeout_s: Seconds = 75.0
    request_timeout_s: Seconds = 60.0
    drain_timeout_s: Seconds = 30.0
    log_requests: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.certificate_file is None) != (self.key_file is None):
            raise InvalidInputError("certificate_file and key_file belong together; give both or neither")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise InvalidInputError("token must be printable ASCII, and not empty")
