"""The door of a web service: an ASGI application that lets in who has the link, and hands him on to the service.

A browser that opens the link gets a cookie and is sent on to the address without the token, so that it is neither in
the history nor in what is sent to others. Programs that know no cookies (curl, players) are served under the link.
`Authorization: Bearer TOKEN` is taken, too. WebSocket has no second door: a browser sends the cookie with it, unless
the page is another site's (SameSite).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    from .link import Link

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Gate:
    """`application` behind `link`. `refused` counts who was not let in.

    `files` are given to everybody, by their paths: kind of content, and content. `port` is in the cookie's name, for a
    browser sends a cookie to every port of a host (RFC 6265 §8.5).
    """

    def __init__(
        self,
        application: Application,
        link: Link,
        *,
        secure: bool,
        port: int,
        files: dict[str, tuple[str, bytes]] | None = None,
    ) -> None:
        self.refused = 0
        self._application = application
        self._link = link
        self._files = files or {}
        self._secure = secure
        # __Host-: set by this very host over TLS, or not at all (RFC 6265bis §4.1.3.2).
        self._cookie = f"{'__Host-' if secure else ''}socketkit-{port}".encode()
        # Not the token itself: whoever reads a cookie could otherwise hand out the link.
        self._key = hmac.new(link.prefix.encode(), b"cookie", hashlib.sha256).hexdigest().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not self._link.prefix:
            await self._application(scope, receive, send)
            return
        given, rest = _token_and_rest(scope["path"])
        headers = scope["headers"]
        if given is not None and self._link.admits(given):
            if scope["type"] == "http" and _is_page_of_browser(scope):
                await self._send_on(scope, rest, send)
            else:
                await self._application(_below(scope, self._link.prefix, rest), receive, send)
        elif self._has_cookie(headers) or self._has_bearer(headers):
            await self._application(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] in self._files:
            await _answer(send, 200, *self._files[scope["path"]])
        else:
            self.refused += 1
            await _refuse(scope["type"], send)

    async def _send_on(self, scope: Scope, rest: str, send: Send) -> None:
        from urllib.parse import quote

        # A browser takes //host and /\host for another site.
        target = "/" + quote(rest.lstrip("/\\"), safe="/:@!$&'()*+,;=~-._")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        attributes = b"; Path=/; HttpOnly; SameSite=Lax" + (b"; Secure" if self._secure else b"")
        headers = [
            (b"location", target.encode("latin-1")),
            (b"set-cookie", self._cookie + b"=" + self._key + attributes),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
            (b"content-length", b"0"),
        ]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _has_cookie(self, headers: list[tuple[bytes, bytes]]) -> bool:
        values = [part.strip().partition(b"=") for name, value in headers if name == b"cookie"
                  for part in value.split(b";")]  # fmt: skip
        return any(name == self._cookie and hmac.compare_digest(key, self._key) for name, _, key in values)

    def _has_bearer(self, headers: list[tuple[bytes, bytes]]) -> bool:
        for name, value in headers:
            kind, _, token = value.decode("latin-1").partition(" ")
            if name == b"authorization" and kind.lower() == "bearer":
                return self._link.admits(token.strip())
        return False


def _token_and_rest(path: str) -> tuple[str | None, str]:
    """The token in a path that has one, and the path behind it."""
    if not path.startswith("/~"):
        return None, path
    token, slash, rest = path[2:].partition("/")
    return token, f"{slash or '/'}{rest}"


def _is_page_of_browser(scope: Scope) -> bool:
    """Whether a person opens the link in a browser, which will keep the cookie."""
    headers = dict(scope["headers"])
    if scope["method"] not in ("GET", "HEAD"):
        return False
    mode = headers.get(b"sec-fetch-mode")
    return mode == b"navigate" if mode else b"text/html" in headers.get(b"accept", b"")


def _below(scope: Scope, prefix: str, rest: str) -> Scope:
    """The scope of an application that is mounted under the link: the token is in `root_path` alone."""
    from urllib.parse import quote

    raw = scope.get("raw_path")
    inner = {**scope, "root_path": scope.get("root_path", "") + prefix, "path": rest}
    if raw is not None:  # which may write the token with percent signs
        begins = raw.startswith(prefix.encode())
        inner["raw_path"] = (raw.removeprefix(prefix.encode()) or b"/") if begins else quote(rest).encode()
    return inner


async def _refuse(kind: str, send: Send) -> None:
    if kind == "websocket":
        await send({"type": "websocket.close", "code": 4403})  # before it is accepted: a 403 (ASGI)
    else:
        await _answer(send, 403, "text/plain; charset=utf-8", REFUSAL)


async def _answer(send: Send, status: int, kind: str, body: bytes) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


REFUSAL = b"This service is open to who has its whole link: ask whoever started it, or scan the code on his screen.\n"
