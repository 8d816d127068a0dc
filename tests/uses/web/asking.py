"""Asks an ASGI application without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ask(
    app: Any, target: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, **scope: Any
) -> Answer:
    """The answer to one request; `target` is path and query as they are sent."""
    path, _, query = target.partition("?")
    events: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        events.append(event)

    told = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "root_path": "",
        **scope,
    }
    asyncio.run(app(told, receive, send))
    start, *rest = events
    fields = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    body = b"".join(event.get("body", b"") for event in rest)
    assert rest[-1].get("more_body", False) is False
    if method != "HEAD" and "content-length" in fields:
        assert int(fields["content-length"]) == len(body)
    return Answer(start["status"], fields, body)
