"""Answers as ASGI events: a text, a redirect, a file or parts of it."""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import TYPE_CHECKING

from .conditions import http_date

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...http.asgi import Scope, Send
    from .conditions import Part, Wish
    from .tree import Opened

    Headers = list[tuple[bytes, bytes]]

__all__ = ["answer", "fields_of", "redirect", "refuse", "send_file"]


async def answer(
    scope: Scope, send: Send, status: int, kind: str, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """One whole answer; HEAD gets the same without its body."""
    fields = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def refuse(
    scope: Scope, send: Send, status: int, words: str, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Say in a line what is wrong."""
    await answer(scope, send, status, "text/plain; charset=utf-8", f"{words}\n".encode(), headers)


async def redirect(scope: Scope, send: Send, target: str) -> None:
    """The same thing is at `target`, for good."""
    await answer(scope, send, 301, "text/plain; charset=utf-8", b"", [(b"location", target.encode("ascii"))])


async def send_file(scope: Scope, send: Send, opened: Opened, wish: Wish, kind: str, headers: Headers) -> None:
    """What is wished of an open file. It stays open until the answer has gone."""
    status, parts = wish
    fields = fields_of(opened, headers)
    if status not in (200, 206):
        if status == 416:
            fields.append((b"content-range", b"bytes */%d" % opened.size))
        if status != 304:
            fields.append((b"content-length", b"0"))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body"})
        return
    pieces, end = [(b"", part) for part in parts], b""
    if len(parts) > 1:
        boundary = secrets.token_hex(12)
        pieces, end = _pieces(parts, kind, opened.size, boundary), f"\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/byteranges; boundary={boundary}"
    elif status == 206:
        fields.append((b"content-range", _content_range(parts[0], opened.size)))
    length = sum(len(head) + part.length for head, part in pieces) + len(end)
    fields += [(b"content-type", kind.encode()), (b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    if scope["method"] != "HEAD":
        if len(pieces) == 1 and pieces[0][1].length <= SMALL_BYTES:
            # It is sooner read than handed to another thread, and leaves with the head.
            end, pieces = _read(opened, pieces[0][1]), []
        for head, part in pieces:
            if head:
                await send({"type": "http.response.body", "body": head, "more_body": True})
            await _send_part(scope, send, opened, part)
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else end})


def fields_of(opened: Opened, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What every answer with an open file, or about it, says of it."""
    return [
        (b"etag", opened.tag.encode()),
        (b"last-modified", http_date(opened.status.st_mtime).encode()),
        (b"accept-ranges", b"bytes"),
        *headers,
    ]


def _pieces(parts: Iterable[Part], kind: str, size: int, boundary: str) -> list[tuple[bytes, Part]]:
    """Each part with what stands before it (RFC 9110 section 14.6)."""
    head = f"\r\n--{boundary}\r\ncontent-type: {kind}\r\ncontent-range: ".encode()
    return [(head + _content_range(part, size) + b"\r\n\r\n", part) for part in parts]


def _content_range(part: Part, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (part.first, part.last, size)


async def _send_part(scope: Scope, send: Send, opened: Opened, part: Part) -> None:
    if "http.response.zerocopysend" in scope.get("extensions", {}):
        await send(
            {
                "type": "http.response.zerocopysend",
                "file": opened.fd,
                "offset": part.first,
                "count": part.length,
                "more_body": True,
            }
        )
        return
    at, end = part.first, part.last + 1
    while at < end:
        data = await asyncio.to_thread(os.pread, opened.fd, min(PIECE_BYTES, end - at), at)
        if not data:
            raise OSError(SHORTER)
        await send({"type": "http.response.body", "body": data, "more_body": True})
        at += len(data)


def _read(opened: Opened, part: Part) -> bytes:
    data = os.pread(opened.fd, part.length, part.first)
    if len(data) < part.length:
        raise OSError(SHORTER)
    return data


SHORTER = "the file has become shorter while it was sent"
SMALL_BYTES = 65_536
PIECE_BYTES = 262_144
