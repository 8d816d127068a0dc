"""What pages of ours are served with: a request as it is read, answers with the headers that each of them carries.

For a service's own page and what its scripts ask for: nothing of it may be loaded, framed or read by another site, and
nothing but its own files runs in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .asgi import Receive, Send


class Request(NamedTuple):
    """What is asked for. A header that comes twice is none: two readers could read it differently."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Request:
        found: dict[str, str] = {}
        twice = set()
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            twice |= {key} & found.keys()
            found[key] = value.decode("latin-1")
        headers = {name: value for name, value in found.items() if name not in twice}
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), max_num_fields=MOST_FIELDS)
        return cls(scope["method"], scope["path"], dict(query), headers)


class Answer(NamedTuple):
    """A whole answer: its status, what its body is, the body, more headers."""

    status: int
    kind: str = "text/plain; charset=utf-8"
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def plain(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status, body=f"{text}\n".encode(), headers=headers)


async def answer(send: Send, what: Answer) -> None:
    await begin(send, what.status, what.kind, ("content-length", str(len(what.body))), *what.headers)
    await send({"type": "http.response.body", "body": what.body})


async def begin(send: Send, status: int, kind: str, *headers: tuple[str, str]) -> None:
    """The head of an answer whose body follows. Headers that are given stand in place of those that all have."""
    pairs = {**dict(HEADERS), "content-type": kind, **dict(headers)}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


def files_of(folder: Path) -> dict[str, Answer]:
    """What a page is made of, by name: its files in this folder, and the colours of all pages."""
    named = ((path, KINDS.get(path.suffix)) for path in (COLOURS, *folder.iterdir()))
    return {path.name: Answer(200, kind, path.read_bytes()) for path, kind in named if kind is not None}


async def body_of(receive: Receive, *, max_bytes: int) -> bytes | None:
    """The body of a request; None if it is larger, or if the caller has gone before its end."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > max_bytes:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


async def accompany(receive: Receive, send: Send) -> None:
    """The lifespan of an application that has nothing to do at its beginning and end."""
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


COLOURS = Path(__file__).with_name("colours.css")
MOST_FIELDS = 32
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing but our own files, no script or style inside of the page, no frame around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ("cache-control", "no-store"),
)
