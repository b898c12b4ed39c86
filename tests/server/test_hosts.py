from __future__ import annotations

import pytest

from deepplan.server.hosts import is_loopback, is_nobodys_name


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("me", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


@pytest.mark.parametrize(
    "authority", ["localhost", "LocalHost:80", "127.0.0.1:8000", "[::1]:8000", "[fe80::1]", "10.1.2.3"]
)
def test_localhost_and_addresses_are_nobodys_name(authority: str) -> None:
    assert is_nobodys_name(authority)


@pytest.mark.parametrize(
    "authority",
    [
        "elsewhere.example",
        "localhost.example:80",
        "127.0.0.1.example",
        "",
        "[::1",
        "a@b",
        "localhost@elsewhere.example",
    ],
)
def test_all_else_may_be_somebodys(authority: str) -> None:
    assert not is_nobodys_name(authority)
