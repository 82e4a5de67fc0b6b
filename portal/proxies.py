"""Who really asks, where a proxy asks for others: only the proxies of the settings are believed.

A proxy adds to `X-Forwarded-For` whom it answers, at the right end; what stands left of the first
address that is no trusted proxy's was written by whoever asked. Other headers of that kind
(`Forwarded`, `X-Real-IP`) are believed from nobody: a proxy that does not set them passes on what
it was sent.
"""

import ipaddress
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from common.settings import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """Puts the address and the scheme that trusted proxies tell into the request."""

    def __init__(self, app: ASGIApp, proxies: Sequence[Network]) -> None:
        self.app, self._proxies = app, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._is_trusted(_address(_peer(scope))):
            scope = {**scope, **self._told(scope)}
        await self.app(scope, receive, send)

    def _told(self, scope: Scope) -> dict[str, Any]:
        headers = Headers(scope=scope)
        asks = _peer(scope)
        for told in reversed(",".join(headers.getlist("x-forwarded-for")).split(",")):
            address = _address(told)
            if address is None:
                break
            asks = str(address)
            if not self._is_trusted(address):
                break
        scheme = ",".join(headers.getlist("x-forwarded-proto")).split(",")[-1].strip().lower()
        known = scheme if scheme in ("http", "https") else scope["scheme"]
        return {"client": (asks, 0), "scheme": known}

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._proxies)


def _peer(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


def _address(text: str) -> Address | None:
    """An address as proxies write it: with a port or without, in brackets or not."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if found.version == 6 else found
