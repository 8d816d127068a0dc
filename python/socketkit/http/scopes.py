"""What a scope says of its connection, and how a request is called in logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .asgi import VERSIONS
from .zero_copy import EXTENSIONS

if TYPE_CHECKING:
    from ..connection import Stream
    from .service import Service


def scope_template(service: Service, stream: Stream) -> dict[str, Any]:
    """The scope of this connection's requests, without what each of them says."""
    template: dict[str, Any] = {
        "type": "http",
        "asgi": VERSIONS,
        "scheme": "https" if service.encrypted else "http",
        "root_path": "",
        "client": address_of(stream.peer.endpoint),
        "server": address_of(stream.local),
    }
    if stream.alpn != "h2":  # whose frames are made in Python
        template["extensions"] = EXTENSIONS
    if service._state is not None:
        template["state"] = service._state
    return template


def address_of(endpoint: Any) -> tuple[str, int | None] | None:
    """(host, port), or (path, None), as ASGI writes an address."""
    if endpoint.host:
        return endpoint.host, endpoint.port
    return (endpoint.path, None) if endpoint.path else None


def target_of(scope: dict[str, Any]) -> str:
    """Path and query as they were sent."""
    target = scope["raw_path"].decode("ascii", "replace")
    return f"{target}?{scope['query_string'].decode('ascii', 'replace')}" if scope["query_string"] else str(target)


def told(stream: Stream, scope: dict[str, Any]) -> str:
    # Without the query: it is where people put secrets.
    return f"{scope['method']} {scope['raw_path'].decode('ascii', 'replace')} of {stream.peer.endpoint}"
