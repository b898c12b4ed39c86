"""Latencies of a server by locust, to check those of `deepplan client` against; the command is in docs/serving.md."""

import json
import math
import random
from typing import Any

import gevent
from locust import FastHttpUser, constant_throughput, events, task

_latencies_ms: list[float] = []


@events.init_command_line_parser.add_listener
def _add_model(parser: Any) -> None:
    parser.add_argument("--model", required=True)


@events.request.add_listener
def _keep(request_type: str, response_time: float, exception: Exception | None, **_: Any) -> None:
    if request_type == "POST" and exception is None:
        _latencies_ms.append(response_time)


@events.quitting.add_listener
def _print(environment: Any, **_: Any) -> None:
    """Percentiles by nearest rank; those of locust's own tables are rounded to whole milliseconds."""
    ordered = sorted(_latencies_ms)
    found = {f"p{q}_ms": round(ordered[(q * len(ordered) - 1) // 100], 3) for q in (50, 95, 99)} if ordered else {}
    print(json.dumps({"answered": len(ordered), "failed": environment.stats.total.num_failures, **found}))


class Client(FastHttpUser):
    """Sends zeros for the one FP32 input of the model, in the binary form that `deepplan client` uses."""

    wait_time = constant_throughput(1)  # so locust's -u is the rate in requests/s

    def on_start(self) -> None:
        self._phase_s = random.random()
        model = self.environment.parsed_options.model
        with self.rest("GET", f"/v2/models/{model}", name="metadata") as response:
            (described,) = response.js["inputs"]
        data = bytes(4 * math.prod(described["shape"]))
        sent = {**described, "parameters": {"binary_data_size": len(data)}}
        head = json.dumps({"inputs": [sent], "parameters": {"binary_data_output": True}}).encode()
        self._path, self._body = f"/v2/models/{model}/infer", head + data
        self._headers = {"Inference-Header-Content-Length": str(len(head))}

    @task
    def infer(self) -> None:
        gevent.sleep(self._phase_s)  # every user's second begins at the same time, and they would all send at once
        self.client.post(self._path, data=self._body, headers=self._headers)
