"""The settings of `deepplan serve`: each is a key of the deployment file and, with hyphens, a flag."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepplan import models
from deepplan.cli import serve_values as values
from deepplan.cli.arguments import check_source
from deepplan.errors import InvalidInputError
from deepplan.planning.records import coerce, field_types
from deepplan.server.settings import ServerSettings
from deepplan.serving.deployment import Deployment, ServedSource


@dataclass(frozen=True)
class Setting:
    """What is given as `metavar` becomes `field` of `record`, by a function of `deepplan.cli.serve_values`.

    Those of ServedSource are for all models of the zoo that say nothing else.
    """

    record: type
    field: str
    metavar: str
    about: str
    value: values.Value = values.as_it_is

    def parse(self, name: str, given: Any, folder: str) -> Any:
        """The field's value; raises InvalidInputError, which calls the setting `name`."""
        value = None if given is None else self.value(name, given, folder)
        # Of a duration, the field says the unit.
        shown = f"{name} ({self.field})" if value is not given and isinstance(value, float) else name
        return coerce(field_types(self.record)[self.field], value, shown)

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return field_types(self.record)[self.field] is bool


_D, _S, _M = Deployment, ServerSettings, ServedSource
SETTINGS: Mapping[str, Setting] = {
    "gpus": Setting(_D, "devices", "LIST", "GPUs to serve from, such as 0,1,2,3 (default: 0)", values.device_names),
    "gpu_memory": Setting(
        _D, "gpu_memory_bytes", "SIZE", "what models may take of each GPU, such as 10.5GiB (default: 9/10 of what is\n"
        "free)", values.byte_count
    ),
    "slo": Setting(
        _D, "objective_ms", "TIME", "refuse requests that would be answered later, such as 100ms (default: none)",
        values.milliseconds
    ),
    "engine": Setting(
        _D, "engine", "ENGINE", "how models are brought in: deepplan, pipeline or demand (default: deepplan)"
    ),
    "pt": Setting(_D, "pt", "N", "how many GPUs' links a cold start goes over (default: 1)", values.whole_number),
    "coding": Setting(_D, "coding", "", "weights cross coded, without loss, where that is faster (default)"),
    "dtype": Setting(_M, "dtype", "DTYPE", "of zoo models: fp32, tf32, bf16 or fp16 (default: each one's own)"),
    "batch_sizes": Setting(
        _M, "batch_sizes", "LIST", "of zoo models: in what numbers requests are run together, such as 1,2,4\n"
        "(default: 1)", values.batch_sizes
    ),
    "host": Setting(_S, "host", "ADDRESS", "where to listen (default: 127.0.0.1)"),
    "http_port": Setting(_S, "http_port", "PORT", "0: any that is free (default: 8000)", values.whole_number),
    "grpc_port": Setting(_S, "grpc_port", "PORT", "0: any that is free (default: 8001)", values.whole_number),
    "token_file": Setting(_S, "token", "FILE", "a file with the token that requests must carry", values.token),
    "certificate": Setting(_S, "certificate_file", "FILE", "for TLS, with those that signed it (PEM)", values.path),
    "key": Setting(_S, "key_file", "FILE", "the certificate's key (PEM)", values.path),
    "max_body": Setting(
        _S, "max_body_bytes", "SIZE", "the largest body of a request (default: 64MiB)", values.byte_count
    ),
    "max_concurrent": Setting(
        _S, "max_concurrent_requests", "N", "requests under way; more are refused (default: 1024)", values.whole_number
    ),
    "body_timeout": Setting(
        _S,
        "body_timeout_s",
        "TIME",
        "how long a client may take to send a body or to read an answer (default: 30s)",
        values.seconds,
    ),
    "idle_timeout": Setting(
        _S, "idle_timeout_s", "TIME", "when an HTTP connection without a request is closed (default: 75s)",
        values.seconds
    ),
    "request_timeout": Setting(
        _S, "request_timeout_s", "TIME", "how long a request may take in the engine (default: 60s)", values.seconds
    ),
    "drain_timeout": Setting(
        _S, "drain_timeout_s", "TIME", "how long requests may take to end after SIGTERM (default: 30s)", values.seconds
    ),
    "log_requests": Setting(_S, "log_requests", "", "a line of log for each request (default)"),
}  # fmt: skip


def deployment_of(settings: Mapping[str, Any]) -> Deployment:
    """Of parsed values by key, and the `models`. Raises InvalidInputError, also for models that are not there."""
    defaults = _fields(ServedSource, settings)
    served = tuple(
        ServedSource(**{**(defaults if model["source"] in models.names() else {}), **model})
        for model in settings.get("models", ())
    )
    for model in served:
        _check(model)
    of_zoo = {m.dtype or models.default_dtype(m.source) for m in served if m.source in models.names()}
    if {"fp32", "tf32"} <= of_zoo:  # torch has one switch for both; the engine finds it when all are registered
        raise InvalidInputError("models in fp32 and in tf32 cannot be served side by side; give all the same dtype")
    return Deployment(served, **_fields(Deployment, settings))


def server_settings_of(settings: Mapping[str, Any]) -> ServerSettings:
    """Of parsed values by key. Raises InvalidInputError."""
    return ServerSettings(**_fields(ServerSettings, settings))


def _fields(record: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {s.field: settings[key] for key, s in SETTINGS.items() if s.record is record and key in settings}


def _check(model: ServedSource) -> None:
    """What would else be found when the model's turn comes to be registered."""
    check_source(model.source)
    if model.source in models.names():
        if model.weights is not None and not os.path.isfile(model.weights):
            raise InvalidInputError(f"{model.served_name}: there is no file of weights {model.weights}")
    elif model.weights is not None or model.batch_sizes != (1,):
        raise InvalidInputError(f"{model.source} brings its own batch size and weights; leave these settings out")
