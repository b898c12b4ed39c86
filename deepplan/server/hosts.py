"""What names of hosts say of who may be behind them."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache(maxsize=256)  # asked for every request, mostly of the same few
def is_nobodys_name(authority: str) -> bool:
    """Whether a request's Host is localhost or an IP address, with or without a port.

    Any other name belongs to somebody, who can have it point to this machine: a browser then takes the server for a
    part of their page ("DNS rebinding").
    """
    try:
        host = urlsplit(f"//{authority}").hostname or ""
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False
