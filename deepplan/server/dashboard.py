"""The page for a person who looks at the server, and what it polls.

The page brings everything along and may load nothing: its policy names the hashes of its own script and style.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from aiohttp import web

from deepplan import __version__
from deepplan.server.http_front import json_answer
from deepplan.server.routes import add_route
from deepplan.server.service import Service

OPEN_PATHS = frozenset(["/"])  # without the token: there is nothing in the page itself


def add_dashboard(application: web.Application, service: Service) -> None:
    """Adds `/` and `/status.json`."""
    page = files("deepplan.server").joinpath("dashboard.html").read_text(encoding="utf-8")
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": _policy(page),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }

    async def show_page(request: web.Request) -> web.Response:
        return web.Response(body=page.encode(), headers=headers)

    async def show_status(request: web.Request) -> web.Response:
        response = json_answer(await _status(service))
        response.headers["Cache-Control"] = "no-store"
        return response

    add_route(application, "/", get=show_page)
    add_route(application, "/status.json", get=show_status)


async def _status(service: Service) -> dict[str, Any]:
    engine = await service.engine_status()
    recent = service.recent
    return {
        "version": __version__,
        "ready": service.ready,
        "now_s": time.time(),
        "models": len(service.engine.models),
        "under_way": service.under_way,
        "engine": None if engine is None else asdict(engine),
        "warm": asdict(recent.percentiles(cold=False)),
        "cold": asdict(recent.percentiles(cold=True)),
        "cold_starts": [asdict(start) for start in recent.cold_starts],
    }


def _policy(page: str) -> str:
    """Content-Security-Policy: nothing but the page's own script and style, and requests to its own server."""
    script, style = (_hash(page, tag) for tag in ("script", "style"))
    return (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(page: str, tag: str) -> str:
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
