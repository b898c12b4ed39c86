"""Where HTTP listens, and what cannot be listened with."""

from __future__ import annotations

import ssl
import urllib.request
from pathlib import Path

import pytest

from deepplan.errors import InvalidInputError

LIVE = "/v2/health/live"


def test_tls(serve, certificate: tuple[Path, Path]) -> None:
    server = serve(certificate_file=str(certificate[0]), key_file=str(certificate[1]))
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    url = f"https://localhost:{server.server.http_port}{LIVE}"
    with urllib.request.urlopen(url, context=trusting, timeout=20) as answer:
        assert answer.status == 200
    with pytest.raises(ConnectionError):
        server.request("GET", LIVE)


def test_settings_that_cannot_be_are_refused(serve, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for settings, message in [
        ({"certificate_file": "c.pem"}, "key_file belong together"),
        ({"certificate_file": str(tmp_path / "none.pem"), "key_file": "k"}, "none.pem"),
        ({"certificate_file": str(tmp_path / "empty.pem"), "key_file": str(certificate[1])}, "empty.pem"),
        ({"token": ""}, "token must be"),
        ({"token": "a\nb"}, "token must be"),
        ({"http_port": 70_000}, "http_port is 70000"),
        ({"host": "no.such.host.invalid"}, "cannot listen on no.such.host.invalid"),
        ({"max_concurrent_requests": 0}, "max_concurrent_requests is 0"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            serve(**settings)


def test_a_port_that_is_taken_is_refused(serve, server) -> None:
    with pytest.raises(InvalidInputError, match=f"cannot listen on 127.0.0.1:{server.server.http_port}"):
        serve(http_port=server.server.http_port)
