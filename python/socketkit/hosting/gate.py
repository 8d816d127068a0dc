"""The door of a web service: an ASGI application that lets in who has the link, and hands him on to the service.

A browser that opens the link gets a cookie and is sent on to the address without the token, so that it is neither in
the history nor in what is sent to others. Programs that know no cookies (curl, players) are served under the link.
`Authorization: Bearer TOKEN` is taken, too.

The cookie opens to what our own pages ask for, and to a person who follows a link; not to pages of other sites, those
of other ports of this host among them (http/origin.py). That goes for WebSockets, too.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from ..http.exchange import Answer, answer, plain
from ..http.origin import is_foreign, is_page_of_browser

if TYPE_CHECKING:
    from ..http.asgi import Application, Receive, Scope, Send
    from .link import Link


class Gate:
    """`application` behind `link`. `refused` counts who was not let in.

    `files` are given to everybody, by their paths: kind of content, and content. `port` is in the cookie's name, for a
    browser sends a cookie to every port of a host (RFC 6265 §8.5). If all links of the application are `relative`, no
    other port is sent it: browsers are led to a folder whose name nobody knows, and the cookie belongs to that.
    """

    def __init__(
        self,
        application: Application,
        link: Link,
        *,
        secure: bool,
        port: int,
        files: dict[str, tuple[str, bytes]] | None = None,
        relative: bool = False,
    ) -> None:
        self.refused = 0
        self._application = application
        self._link = link
        self._files = files or {}
        # Not the token itself: whoever reads a cookie could otherwise hand out the link.
        self._key = _derived(link, b"cookie").encode()
        self._folder = f"/{_derived(link, b'folder')[:FOLDER_LETTERS]}" if relative else ""
        # __Host-: set by this very host over TLS for all of it, or not at all (RFC 6265bis §4.1.3).
        prefix = ("__Secure-" if relative else "__Host-") if secure else ""
        self._cookie = f"{prefix}socketkit-{port}".encode()
        # To a folder that nobody knows no page of others leads; to what is at / a mail or a chat may.
        same_site = "Strict" if relative else "Lax"
        ending = "; Secure" if secure else ""
        self._attributes = f"; Path={self._folder}/; HttpOnly; SameSite={same_site}{ending}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not self._link.prefix:
            await self._application(scope, receive, send)
            return
        given, rest = _token_and_rest(scope["path"])
        if given is not None and self._link.admits(given):
            if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and is_page_of_browser(scope["headers"]):
                await self._send_on(scope, rest, send)
            else:
                await self._application(_below(scope, self._link.prefix, rest), receive, send)
        elif self._has_cookie(scope):
            if is_foreign(scope):
                await self._refuse(scope, FOREIGN, send)
            else:
                await self._application(self._within(scope), receive, send)
        elif self._has_bearer(scope["headers"]):
            await self._application(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] in self._files:
            await answer(send, Answer(200, *self._files[scope["path"]]))
        else:
            await self._refuse(scope, REFUSAL, send)

    async def _send_on(self, scope: Scope, rest: str, send: Send) -> None:
        from html import escape
        from urllib.parse import quote

        # A browser takes //host and /\host for another site.
        target = f"{self._folder}/" + quote(rest.lstrip("/\\"), safe="/:@!$&'()*+,;=~-._")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        cookie = ("set-cookie", self._cookie.decode() + "=" + self._key.decode() + self._attributes)
        if self._folder and _is_led_here(scope):
            # A strict cookie is not sent where another site's page led, by way of a redirect neither: by a page, it is.
            page = STEP.format(target=escape(target)).encode()
            await answer(send, Answer(200, "text/html; charset=utf-8", page, (cookie,)))
        else:
            await answer(send, Answer(303, headers=(("location", target), cookie)))

    def _has_cookie(self, scope: Scope) -> bool:
        if not scope["path"].startswith(f"{self._folder}/"):
            return False
        values = [part.strip().partition(b"=") for name, value in scope["headers"] if name == b"cookie"
                  for part in value.split(b";")]  # fmt: skip
        return any(name == self._cookie and hmac.compare_digest(key, self._key) for name, _, key in values)

    def _has_bearer(self, headers: list[tuple[bytes, bytes]]) -> bool:
        for name, value in headers:
            kind, _, token = value.decode("latin-1").partition(" ")
            if name == b"authorization" and kind.lower() == "bearer":
                return self._link.admits(token.strip())
        return False

    def _within(self, scope: Scope) -> Scope:
        """What is asked for below the folder, where there is one."""
        return _below(scope, self._folder, scope["path"].removeprefix(self._folder)) if self._folder else scope

    async def _refuse(self, scope: Scope, why: str, send: Send) -> None:
        self.refused += 1
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403})  # before it is accepted: a 403 (ASGI)
        else:
            await answer(send, plain(403, why))


def _derived(link: Link, what: bytes) -> str:
    """Another secret for each purpose: the same for the same token, and nothing of the token is known from it."""
    return hmac.new(link.prefix.encode(), what, hashlib.sha256).hexdigest()


def _token_and_rest(path: str) -> tuple[str | None, str]:
    """The token in a path that has one, and the path behind it."""
    if not path.startswith("/~"):
        return None, path
    token, slash, rest = path[2:].partition("/")
    return token, f"{slash or '/'}{rest}"


def _is_led_here(scope: Scope) -> bool:
    """Whether he follows a link in a page of another site."""
    return dict(scope["headers"]).get(b"sec-fetch-site", b"none") in (b"same-site", b"cross-site")


def _below(scope: Scope, prefix: str, rest: str) -> Scope:
    """The scope of an application that is mounted under the link: the token is in `root_path` alone."""
    from urllib.parse import quote

    raw = scope.get("raw_path")
    inner = {**scope, "root_path": scope.get("root_path", "") + prefix, "path": rest}
    if raw is not None:  # which may write the token with percent signs
        begins = raw.startswith(prefix.encode())
        inner["raw_path"] = (raw.removeprefix(prefix.encode()) or b"/") if begins else quote(rest).encode()
    return inner


REFUSAL = "This service is open to who has its whole link: ask whoever started it, or scan the code on his screen."
FOREIGN = "This is asked for by its own pages only, and not by those of other sites."
FOLDER_LETTERS = 24
STEP = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={target}"><title>...</title>'
