"""`Inbox`: what is asked for by which address, and who may change something.

    /                             the page; page.css, page.js, icon.svg
    api/mails                     GET: a list (search=, before=, limit=); DELETE: all of them
    api/mails/ID                  GET: one with all that is in it; PATCH {"seen": true}; DELETE
    api/mails/ID/raw              as it was sent
    api/mails/ID/html             its HTML to be shown, under a policy that lets it do nothing (pictures=yes)
    api/mails/ID/parts/NUMBER     a part, to be saved
    api/mails/ID/release          POST: send it on to a real server, where that is allowed
    api/events                    what changes from now on (server-sent events)

Who may come in at all is the business of a `hosting.Gate` before it. What changes something, and what a browser asks
for with the cookie of that gate, is refused to pages of other sites: by their Origin, and by what browsers say of who
asks (Sec-Fetch-Site). To other sites DELETE, PATCH and POST of JSON need a permission (CORS) that is never given, too.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....http.event_stream import begin_events, end_events, gone, send_event, send_sign
from ....http.exchange import POLICY, Answer, Request, accompany, answer, body_of, files_of, plain
from ..search import SearchError
from ..told import caught_as_json
from .content import detail, document, part, saved
from .releasing import Refused, Releasing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ....http.asgi import Receive, Scope, Send
    from ..database import Caught
    from ..release import Outlet
    from ..store import Change, Store

    Call = Callable[["Request", tuple[int, ...], "Receive"], Awaitable[Answer]]


class Inbox:
    """An ASGI application. `addresses`: where to send mail to and read it, by service; pages that open say it.

    `outlet`: where mail may be sent on to; without one nothing leaves, and the page has no button for it.
    `end` lets the pages that are open go: it is due before the service that it runs in ends.
    """

    def __init__(
        self, store: Store, *, addresses: Mapping[str, str] | None = None, outlet: Outlet | None = None
    ) -> None:
        self._store = store
        self._releasing = Releasing(store, outlet)
        self.addresses = dict(addresses or {})
        self._files = files_of(Path(__file__).with_name("page"))
        page = self._files["page.html"]
        self._files["page.html"] = page._replace(headers=(("content-security-policy", POLICY_OF_PAGE),))
        self._ended = asyncio.Event()
        self._open = 0
        self._calls: tuple[tuple[re.Pattern[str], dict[str, Call]], ...] = (
            (_path(""), {"GET": self._list, "DELETE": self._clear}),
            (_path("/ID"), {"GET": self._detail, "PATCH": self._mark, "DELETE": self._delete}),
            (_path("/ID/raw"), {"GET": self._raw}),
            (_path("/ID/html"), {"GET": self._html}),
            (_path("/ID/parts/ID"), {"GET": self._part}),
            (_path("/ID/release"), {"POST": self._release}),
        )

    def end(self) -> None:
        """Nothing is told any more to the pages that are open."""
        self._ended.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await accompany(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = Request.of(scope)
        except ValueError:
            await answer(send, fault(400, "This query has too many fields."))
            return
        method = "GET" if request.method == "HEAD" else request.method
        if request.path == EVENTS and method == "GET" and _is_own(request, scope):
            await self._events(receive, send)
            return
        told = await self._answer(request._replace(method=method), scope, receive)
        if request.method == "HEAD":
            length = ("content-length", str(len(told.body)))
            told = told._replace(body=b"", headers=(*told.headers, length))
        await answer(send, told)

    async def _answer(self, request: Request, scope: Scope, receive: Receive) -> Answer:
        name = request.path.removeprefix("/") or "page.html"
        if name in self._files:
            return self._files[name] if request.method == "GET" else _takes("GET")
        if not _is_own(request, scope):
            return fault(403, "This is asked for by its own page, and by programs; not by pages of other sites.")
        for path, calls in self._calls:
            found = path.fullmatch(request.path)
            if found is not None:
                call = calls.get(request.method)
                if call is None:
                    return _takes(*calls)
                return await call(request, tuple(int(number) for number in found.groups()), receive)
        return _takes("GET") if request.path == EVENTS else plain(404, "There is nothing here.")

    # --- what is asked for

    async def _list(self, request: Request, numbers: tuple[int, ...], receive: Receive) -> Answer:
        try:
            limit = _number(request, "limit", 50, MOST_LISTED)
            before = _number(request, "before", 0, LARGEST) or None
            words = request.query.get("search", "")
            if len(words) > LONGEST_SEARCH:
                raise ValueError("these are too many words to search for")
            # One more than is told, to know whether there is more.
            if words.strip():
                found = await self._store.search(words, limit + 1, before=before)
            else:
                found = await self._store.newest(limit + 1, before=before)
        except (SearchError, ValueError) as failure:
            return fault(400, str(failure))
        more = found[limit - 1].id if len(found) > limit else None
        return _json({"mails": [_summary(mail) for mail in found[:limit]], "next": more, **self._held()})

    async def _detail(self, request: Request, numbers: tuple[int, ...], receive: Receive) -> Answer:
        return await self._of_content(numbers, lambda mail, raw: _json({**_summary(mail), **detail(mail, raw)}))

    async def _raw(self, request: Request, numbers: tuple[int, ...], receive: Receive) -> Answer:
        def whole(mail: Caught, raw: bytes) -> Answer:
            name = mail.summary.subject.replace("/", "-").replace("\\", "-")
            return saved("message/rfc822", f"{name or 'mail'}.eml", raw)

        return await self._of_content(numbers, whole)

    async def _html(self, request: Request, numbers: tuple[int, ...], receive: Receive) -> Answer:
        remote = request.query.get("pictures") == "yes"
        return await self._of_content(numbers, lambda mail, raw: document(raw, remote=remote) or NO_HTML)

    async def _part(self, request: Request, numbers: tuple[int, ...], receive: Receive) -> Answer:
        return await self._of_content(numbers[:1], lambda mail, raw: part(raw, numbers[1]) or NO_PART)

    async def _of_content(self, numbers: tuple[int, ...], told: Callable[[Caught, bytes], Answer]) -> Answer:
        """What `told` makes of a mail, in a thread: taking a large one apart would keep all others waiting."""
        (number,) = numbers
        mail = await self._store.get(number)
        raw = await self._store.raw(number)
        if mail is None or raw is None:
            return GONE
        return await asyncio.to_thread(told, mail, raw)

    # --- what is changed

    async def _mark(self, request: Request, numbers: tuple[int, ...], receive: Receive) -> Answer:
        body = await body_of(receive, max_bytes=MOST_BODY_BYTES)
        try:
            asked = json.loads(body or b"")
            seen = asked["seen"] if isinstance(asked, dict) and len(asked) == 1 else None
        except (ValueError, KeyError, RecursionError):
            seen = None
        if not isinstance(seen, bool):
            return fault(400, 'This takes {"seen": true} or {"seen": false}.')
        mail = await self._store.mark(numbers[0], seen=seen)
        return GONE if mail is None else _json(_summary(mail))

    async def _delete(self, request: Request, numbers: tuple[int, ...], receive: Receive) -> Answer:
        return Answer(204) if await self._store.delete(numbers) else GONE

    async def _clear(self, request: Request, numbers: tuple[int, ...], receive: Receive) -> Answer:
        return _json({"deleted": len(await self._store.clear())})

    # --- what leaves

    async def _release(self, request: Request, numbers: tuple[int, ...], receive: Receive) -> Answer:
        try:
            return _json({"deliveries": await self._releasing(request, numbers[0], receive)})
        except Refused as refused:
            return _json({"error": str(refused), "deliveries": refused.deliveries}, refused.status)

    # --- what is told

    async def _events(self, receive: Receive, send: Send) -> None:
        if self._open >= MOST_OPEN:
            await answer(send, fault(503, f"{MOST_OPEN} pages are open: close one of them.", ("retry-after", "5")))
            return
        self._open += 1
        changes = self._store.changes()  # the store bounds what waits for who is slow, and then says "lost"
        leaving = asyncio.ensure_future(gone(receive))
        ending = asyncio.ensure_future(self._ended.wait())
        news: asyncio.Future[Change] = asyncio.ensure_future(anext(changes))
        try:
            await asyncio.sleep(0)  # it subscribes with its first step: what comes behind the greeting is told
            await begin_events(send)
            await send_event(send, {"kind": "hello", **self._offers(), **self._held()})
            while True:
                waiting: list[asyncio.Future[Any]] = [leaving, ending, news]
                await asyncio.wait(waiting, timeout=SIGN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done() or ending.done():
                    break
                if news.done():
                    change, news = news.result(), asyncio.ensure_future(anext(changes))
                    await send_event(send, self._change(change))
                else:
                    await send_sign(send)
            await end_events(send)
        except OSError:
            pass  # the page has gone while it was told something
        finally:
            self._open -= 1
            for task in (leaving, ending, news):
                task.cancel()
            await asyncio.wait([news])
            await changes.aclose()

    def _offers(self) -> dict[str, Any]:
        return {"addresses": self.addresses, "release": self._releasing.offer()}

    def _change(self, change: Change) -> Mapping[str, object]:
        mails = [_summary(mail) for mail in change.mails]
        return {"kind": change.kind, "mails": mails, "ids": change.ids, **self._held()}

    def _held(self) -> dict[str, int]:
        return {"count": self._store.count, "bytes": self._store.bytes}


def _is_own(request: Request, scope: Scope) -> bool:
    """Whether no page of another site asks. Programs say neither of the two."""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or origin == f"{scope.get('scheme', 'http')}://{request.headers.get('host', '')}"


def _summary(mail: Caught) -> dict[str, Any]:
    return {**caught_as_json(mail), "seen": mail.seen}


def _number(request: Request, name: str, otherwise: int, most: int) -> int:
    text = request.query.get(name, str(otherwise))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(f"{name}={text[:20]} is no number")
    return max(min(int(text), most), name == "limit")


def _json(value: object, status: int = 200, *headers: tuple[str, str]) -> Answer:
    return Answer(status, "application/json", json.dumps(value, separators=(",", ":")).encode(), headers)


def fault(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """What is wrong, for programs and the page."""
    return _json({"error": text}, status, *headers)


def _takes(*methods: str) -> Answer:
    return fault(405, f"This takes {', '.join(methods)}.", ("allow", ", ".join(methods)))


def _path(text: str) -> re.Pattern[str]:
    return re.compile("/api/mails" + text.replace("ID", r"([0-9]{1,15})"))


EVENTS = "/api/events"
POLICY_OF_PAGE = f"{POLICY}; frame-src 'self'"  # a frame that a mail leads elsewhere goes nowhere
GONE = fault(404, "This mail is not there, or not any more.")
NO_PART = fault(404, "This mail has no such part.")
NO_HTML = fault(404, "This mail has no HTML.")
MOST_LISTED = 500
MOST_OPEN = 32
MOST_BODY_BYTES = 1_000
LONGEST_SEARCH = 1_000
LARGEST = 2**53
SIGN_SECONDS = 15.0
