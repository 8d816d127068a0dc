"""ASGI applications for tests, and the few lines that talk to them in bytes."""

from __future__ import annotations

from typing import Any

from socketkit import Endpoint, Stream, connect


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body that came."""
    require_http(scope)
    body = b""
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event["body"]
        more = event["more_body"]
    await answer(send, body)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    require_http(scope)
    await answer(send, b"hello")


async def answer(send: Any, body: bytes, status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


def require_http(scope: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])


async def talk(where: Endpoint, request: bytes) -> bytes:
    """All that is answered to `request` until the other side ends."""
    async with connect(str(where)) as stream:
        await stream.send(request)
        return await everything(stream)


async def everything(stream: Stream) -> bytes:
    return b"".join([chunk async for chunk in stream])


def request(target: str = "/", *fields: str, method: str = "GET", body: bytes = b"", version: str = "1.1") -> bytes:
    """The bytes of a request that is the last of its connection."""
    head = [f"{method} {target} HTTP/{version}", "Host: example.org", "Connection: close", *fields]
    return "\r\n".join([*head, "", ""]).encode() + body


def parted(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """(status, fields, body) of one answer; the body as it was framed."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
