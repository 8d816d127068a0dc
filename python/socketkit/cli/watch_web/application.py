"""The page as an ASGI 3 application: its files, what it is told (server-sent events), and what it may change.

    /                the page; /page.css, /page.js, /icon.svg
    /events          what is new, once a second and whenever the page looks at something else
    /look            POST: what the page looks at
    /close           POST: end a socket, if that was allowed at the start
    /metrics         for Prometheus

Who may come in at all is the business of the `hosting.Gate` before it. Where something is changed, the page's scripts
show a key besides, which nobody else is told.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING

from ...http.event_stream import begin_events, end_events, gone, send_event
from ...http.exchange import Answer, Request, accompany, answer, body_of, files_of, plain
from ...inspect.metrics import CONTENT_TYPE, exposition
from .rows import Numbers
from .viewer import Look, Viewer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ...http.asgi import Receive, Send
    from ...inspect.watch import Watched, Watching
    from .auditing import Audited, Auditing


class Page:
    """`work` keeps it up to date, has to run meanwhile, and with its end the pages that are open are told no more.

    `close_socket` is None where closing is not allowed.
    """

    def __init__(
        self,
        watching: Watching,
        auditing: Auditing,
        *,
        close_socket: Callable[[Watched], None] | None = None,
        update_seconds: float = 1.0,
    ) -> None:
        self._watching = watching
        self._auditing = auditing
        self._close_socket = close_socket
        self._update_seconds = update_seconds
        self._numbers = Numbers()
        self._open: dict[str, Open] = {}
        self._highest: dict[str, float] = {}
        self._ended = False
        self._key = secrets.token_urlsafe(32)
        self._files = files_of(Path(__file__).parent)

    async def work(self) -> None:
        """Until it is cancelled; what went wrong with watching is raised."""
        try:
            while True:
                self._watching.take()  # pages are told of rows, so the changes only need to make room
                kept = (row for page in self._open.values() for row in page.viewer.kept)
                self._numbers.keep((*self._watching.rows, *kept))
                await asyncio.sleep(self._update_seconds)
        finally:
            self._ended = True  # else the end of the server would wait for pages that are open
            for page in self._open.values():
                page.looks.set()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await accompany(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        try:
            request = Request.of(scope)
        except ValueError:
            await answer(send, plain(400, "This query has too many fields."))
            return
        name = request.path.removeprefix("/") or "page.html"
        changes = {"look": self._look, "close": self._close}
        method = "POST" if name in changes else "GET"
        if name not in (*changes, *self._files, "events", "metrics"):
            await answer(send, plain(404, "There is nothing here."))
        elif request.method != method:
            await answer(send, plain(405, f"This takes {method}.", ("allow", method)))
        elif name == "events":
            await self._events(request, receive, send)
        elif name == "metrics":
            await answer(send, self._metrics())
        elif name in changes:
            await answer(send, await self._change(changes[name], request, receive))
        else:
            await answer(send, self._files[name])

    def _metrics(self) -> Answer:
        text = exposition(self._watching, self._auditing.last.found(), highest=self._highest)
        return Answer(200, CONTENT_TYPE, text.encode())

    # --- what is told

    async def _events(self, request: Request, receive: Receive, send: Send) -> None:
        try:
            look = Look.of(request.query)
        except ValueError as failure:
            await answer(send, plain(400, str(failure)))
            return
        if len(self._open) >= MOST_PAGES:
            await answer(send, plain(503, f"{MOST_PAGES} pages are open: close one of them.", ("retry-after", "5")))
            return
        name, page = secrets.token_urlsafe(12), Open(Viewer(self._watching, self._numbers, look))
        self._open[name] = page
        leaving = asyncio.ensure_future(gone(receive))
        try:
            await begin_events(send)
            hello = {"page": name, "key": self._key, "may_close": self._close_socket is not None}
            await send_event(send, {**hello, **page.message(self._auditing.last)})
            while not (leaving.done() or self._ended):
                await self._until_news(page, leaving)
                await send_event(send, page.message(self._auditing.last))
            await end_events(send)
        except OSError:
            pass  # the page has gone while it was told something
        finally:
            del self._open[name]
            leaving.cancel()

    async def _until_news(self, page: Open, leaving: asyncio.Future[None]) -> None:
        page.looks.clear()
        looks = asyncio.ensure_future(_set(page.looks))
        try:
            pause = max(self._update_seconds, page.took * PAUSES_PER_MESSAGE)
            await asyncio.wait([looks, leaving], timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        finally:
            looks.cancel()

    # --- what is changed

    async def _change(
        self, act: Callable[[Mapping[str, object]], Answer], request: Request, receive: Receive
    ) -> Answer:
        if not self._is_of_page(request):
            return plain(403, "Only the page itself changes something: load it again.")
        body = await body_of(receive, max_bytes=MOST_BODY_BYTES)
        if body is None:
            return plain(413, "That is too much.")
        try:
            asked = json.loads(body)
            if not isinstance(asked, dict):
                raise ValueError("an object is expected")
            return act(asked)
        except (ValueError, RecursionError) as failure:  # of JSON, of UTF-8, of numbers; brackets within brackets
            return plain(400, str(failure))

    def _is_of_page(self, request: Request) -> bool:
        # To send JSON a page of another site would need a permission (CORS), which is never given.
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        given = request.headers.get("x-socketkit-key", "").encode("latin-1")
        return kind == "application/json" and compare_digest(given, self._key.encode())

    def _look(self, asked: Mapping[str, object]) -> Answer:
        page = self._open.get(str(asked.get("page")))
        if page is None:
            return plain(404, "This page is not open any more: load it again.")
        page.viewer.look_at(Look.of(asked))
        page.looks.set()
        return Answer(204)

    def _close(self, asked: Mapping[str, object]) -> Answer:
        if self._close_socket is None:
            return plain(403, "Closing was not allowed: start with --allow-close.")
        row = self._numbers.row(int(str(asked.get("number"))))
        if row is None or row.closed_at is not None:
            return plain(409, "It has ended already.")
        try:
            self._close_socket(row)
        except OSError as failure:
            return plain(409, str(failure))
        return Answer(204)


class Open:
    """A page that is open; `looks` is set when it looks at something else."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.looks = asyncio.Event()
        self.took = 0.0  # seconds, by the last message

    def message(self, audited: Audited) -> Mapping[str, object]:
        began = time.monotonic()
        try:
            return self.viewer.message(audited)
        finally:
            self.took = time.monotonic() - began


async def _set(event: asyncio.Event) -> None:
    await event.wait()


MOST_PAGES = 16
# A message of fifty thousand rows takes a tenth of a second or more: most of the time still goes to watching.
PAUSES_PER_MESSAGE = 5
MOST_BODY_BYTES = 16_384
