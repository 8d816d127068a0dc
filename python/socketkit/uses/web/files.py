"""`Files`: a folder as an ASGI application. What a request names is opened, and goes out as it is wished."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from ...http import Prepared
from .answers import answer, fields_of, redirect, refuse, send_file
from .conditions import wish_of
from .kinds import kind_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...http.asgi import Receive, Scope, Send
    from .tree import Opened, Tree

    Lists = Callable[[Scope, Send, Opened], Awaitable[None]]
    Changes = Callable[[Scope, Receive, Send, str], Awaitable[None]]

__all__ = ["Files", "path_of"]


class Files:
    """Serves what is in `tree`. `lists` answers for a folder without `index.html`; None: it is not listed.

    `changes` answers every method but GET and HEAD, and whatever is asked by tus; None: nothing can be changed.
    """

    def __init__(self, tree: Tree, lists: Lists | None = None, changes: Changes | None = None) -> None:
        self._tree = tree
        self._prepared: Prepared | None = None
        self._lists = lists
        self._changes = changes
        # What strangers may put here runs no script in the name of those who may look (and put) here.
        self._headers = [(b"x-content-type-options", b"nosniff")]
        if changes is not None:
            self._headers.append((b"content-security-policy", b"sandbox"))

    def prepare(self) -> Prepared:
        """A table that gets what small files are answered with, for where the folder is the same for everybody."""
        self._prepared = Prepared(folder=self._tree.fd)
        return self._prepared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        if scope["type"] != "http":
            return
        path = path_of(scope)
        reads = scope["method"] in ("GET", "HEAD")
        if self._changes is not None and (not reads or any(name == b"tus-resumable" for name, _ in scope["headers"])):
            await self._changes(scope, receive, send, path)
        elif reads:
            await self._show(scope, send, path)
        elif scope["method"] == "OPTIONS":
            await answer(scope, send, 200, "text/plain; charset=utf-8", b"", [ALLOWED])
        else:
            await refuse(scope, send, 405, "this folder is served for reading only", [ALLOWED])

    async def _show(self, scope: Scope, send: Send, path: str) -> None:
        try:
            opened = self._tree.open(path)
        except OSError as failure:
            await refuse(scope, send, *_refusal(failure))
            return
        if opened is None:
            await refuse(scope, send, 404, "there is nothing here of this name")
            return
        with opened:
            if opened.is_folder:
                await self._show_folder(scope, send, path, opened)
            elif path.endswith("/"):
                await refuse(scope, send, 404, "this is a file, and has nothing in it: ask for it without the slash")
            else:
                await self._send(scope, send, opened)

    async def _show_folder(self, scope: Scope, send: Send, path: str, folder: Opened) -> None:
        if not path.endswith("/"):
            # From the root on: `//host` would be another site's address.
            target = scope.get("root_path", "") + "/" + quote(os.fsencode(path.strip("/"))) + "/"
            query = scope["query_string"].decode("latin-1")
            await redirect(scope, send, f"{target}?{query}" if query else target)
            return
        if not scope["query_string"]:
            page = self._tree.open(f"{path}{INDEX}")
            if page is not None:
                with page:
                    if not page.is_folder:
                        await self._send(scope, send, page)
                        return
        if self._lists is None:
            await refuse(scope, send, 404, "this folder is not listed")
        else:
            await self._lists(scope, send, folder)

    async def _send(self, scope: Scope, send: Send, opened: Opened) -> None:
        wish = wish_of(dict(scope["headers"]), opened.tag, opened.status.st_mtime, opened.size)
        kind = kind_of(opened.names)
        if self._prepared is not None and wish.status == 200:
            _prepare(
                self._prepared, scope, opened, [*fields_of(opened, self._headers), (b"content-type", kind.encode())]
            )
        await send_file(scope, send, opened, wish, kind, self._headers)


def _prepare(prepared: Prepared, scope: Scope, opened: Opened, fields: list[tuple[bytes, bytes]]) -> None:
    """Let the engine answer whoever asks for this next. With a query everybody could fill the table with one file."""
    target = scope["raw_path"]
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if scope["http_version"] != "2" and not scope["query_string"] and target.isascii() and len(hosts) == 1:
        prepared.put_file(hosts[0], target.decode(), opened.fd, b"/".join(opened.names), fields)


def path_of(scope: Scope) -> str:
    """The path as names of files are written here: whatever bytes it has, not only UTF-8."""
    raw = scope.get("raw_path")
    return str(scope["path"]) if raw is None else os.fsdecode(unquote_to_bytes(raw))


def _refusal(failure: OSError) -> tuple[int, str]:
    if failure.errno in (errno.EACCES, errno.EPERM):
        return 403, "who serves this may not read it himself"
    return 503, "it cannot be read just now"


INDEX = "index.html"
ALLOWED = (b"allow", b"GET, HEAD, OPTIONS")
