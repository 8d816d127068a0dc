"""HTTP on the verbs: `serve(url, app)` serves any ASGI application within the limits of its listener.

The other way round, `Client` and `download` ask servers, and `httpx_transport()` has httpx do so (extra `web`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .access import Access
from .prepared import Prepared
from .service import Service, serve

if TYPE_CHECKING:
    from .client import Client
    from .for_httpx import httpx_transport
    from .transfers import download

__all__ = ["Access", "Client", "Prepared", "Service", "download", "httpx_transport", "serve"]


def __getattr__(name: str) -> object:
    # They need packages that serving does not.
    from importlib import import_module

    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ELSEWHERE[name]}", __name__), name)


_ELSEWHERE = {"Client": "client", "download": "transfers", "httpx_transport": "for_httpx"}
