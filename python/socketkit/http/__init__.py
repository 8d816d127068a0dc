"""HTTP on the verbs: `serve(url, app)` serves any ASGI application within the limits of its listener."""

from __future__ import annotations

from .access import Access
from .service import Service, serve

__all__ = ["Access", "Service", "serve"]
