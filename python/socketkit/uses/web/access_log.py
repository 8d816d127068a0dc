"""The access log: a line for each answer, as text for people or as JSON for programs; no token is in it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...http import Access

__all__ = ["as_json", "as_text", "without_token"]


def as_text(access: Access, *, clock: Callable[[], float] = time.time) -> str:
    """`2026-11-23T05:00:00Z 192.168.1.9 "GET /a.png" 200 14,203 B 0.004 s HTTP/2`."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock()))
    request = f'"{access.method} {_plain(without_token(access.target))}"' if access.method else '"-"'
    return (
        f"{moment} {_host(access)} {request} {access.status or '-'} {access.sent_bytes:,} B "
        f"{access.seconds:.3f} s HTTP/{access.version}"
    )


def as_json(access: Access, *, clock: Callable[[], float] = time.time) -> dict[str, Any]:
    """The same as an object."""
    return {
        "event": "request",
        "time": round(clock(), 3),
        "peer": str(access.peer.endpoint),
        "method": access.method,
        "target": without_token(access.target),
        "status": access.status,
        "sent_bytes": access.sent_bytes,
        "seconds": round(access.seconds, 6),
        "version": access.version,
    }


def without_token(target: str) -> str:
    """A target without the token of a link in front, however it is written."""
    return TOKEN.sub(r"\1...", target, count=1)


def _host(access: Access) -> str:
    endpoint = access.peer.endpoint
    return str(endpoint.host or endpoint.path or endpoint)


def _plain(text: str) -> str:
    """Without what would do things to a terminal, or end the line, or the quotes."""
    return "".join(char if char.isprintable() and char != '"' else f"%{ord(char) & 0xFF:02X}" for char in text)


TOKEN = re.compile(r"^(/(?:~|%7[eE]))[^/?]*")
