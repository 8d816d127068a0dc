"""Asks an ASGI application without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Gone(Exception):
    """Nothing was answered, for the client had gone."""


def ask(app: Any, target: str, **request: Any) -> Answer:
    """The answer to one request: see `asked`."""
    return asyncio.run(asked(app, target, **request))


async def asked(
    app: Any,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: Sequence[bytes] = (b"",),
    cut: bool = False,
    **scope: Any,
) -> Answer:
    """The answer to one request; `target` is path and query as they are sent. `cut`: the client goes after `body`.

    Raises Gone if he is not answered then.
    """
    path, _, query = target.partition("?")
    events: list[dict[str, Any]] = []

    chunks = list(body)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        if not chunks:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks) or cut}

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
    await app(told, receive, send)
    if not events:
        raise Gone
    start, *rest = events
    fields = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    body = b"".join(event.get("body", b"") for event in rest)
    assert rest[-1].get("more_body", False) is False
    if method != "HEAD" and "content-length" in fields:
        assert int(fields["content-length"]) == len(body)
    return Answer(start["status"], fields, body)
