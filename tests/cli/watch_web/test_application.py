"""The application, called as a server calls it; who is let in is in tests/hosting/test_gate.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from socketkit.cli.watch_web.application import MOST_PAGES, Page
from socketkit.cli.watch_web.auditing import Auditing
from socketkit.errors import SocketError
from socketkit.threats.audit import Report
from socketkit.threats.view import View
from tests.calling import Answered, Call, called, ended
from tests.cli.test_watch_rows import HIDDEN, LISTENER, Scripted

FILES = {
    "page.html": "text/html; charset=utf-8",
    "colours.css": "text/css; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class Watching(Scripted):
    lost = missed = 0
    first_bytes = False
    taken = 0

    def take(self) -> list[Any]:
        self.taken += 1
        return []


class Browser:
    """The page over rows that were made up, and what asks it."""

    def __init__(self, **options: Any) -> None:
        self.watching: Any = Watching()
        auditing = Auditing(lambda: Report([], [], View()))
        self.page = Page(self.watching, auditing, **{"update_seconds": 0.01, **options})
        self.key = ""

    def call(self, name: str, **options: Any) -> Call:
        return Call(self.page, f"/{name}", **options)

    async def got(self, name: str) -> Answered:
        return await self.call(name).run()

    async def open(self, name: str = "events") -> tuple[Call, asyncio.Task[Answered], Any]:
        """A page: what tells it, and what it was told first."""
        call = self.call(name)
        running = asyncio.create_task(call.run())
        hello, *_ = await call.until(lambda events: len(events) > 0)
        self.key = hello["key"]
        return call, running, hello

    async def posted(self, name: str, value: object, **headers: str) -> Answered:
        own = {"content-type": "application/json", "x-socketkit-key": self.key}
        given = own | {name.replace("_", "-"): value for name, value in headers.items()}
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return await called(self.page, f"/{name}", "POST", body=body, headers=given)


def browsed(play: Callable[[Browser], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(25):
            await play(Browser(**options))

    asyncio.run(main())


def test_files_and_what_is_none() -> None:
    async def play(browser: Browser) -> None:
        for name, kind in FILES.items():
            answer = await browser.got(name)
            assert (answer.status, answer.headers["content-type"]) == (200, kind)
        assert (await browser.got("")).body == (await browser.got("page.html")).body
        assert (await browser.got("serving.py")).status == 404
        assert (await browser.got("../watch.py")).status == 404
        assert (await browser.posted("", {})).status == 405
        assert (await browser.got("look")).headers["allow"] == "POST"
        assert (await browser.got("close")).status == 405
        many = "&".join(f"a{number}=1" for number in range(50))
        assert (await browser.got(f"?{many}")).status == 400

    browsed(play)


def test_nothing_in_the_page_comes_from_elsewhere() -> None:
    async def play(browser: Browser) -> None:
        page = (await browser.got("page.html")).text
        assert "http" not in page
        assert "style=" not in page and "<style" not in page and "onclick" not in page
        assert page.count("<script") == page.count('<script src="page.js"') == 1
        script = (await browser.got("page.js")).text
        assert "innerHTML" not in script and "eval(" not in script
        assert {part.partition('"')[0] for part in script.split("http://")[1:]} == {"www.w3.org/2000/svg"}

    browsed(play)


# --- what is told


def test_events() -> None:
    async def play(browser: Browser) -> None:
        call, running, hello = await browser.open("events?size=2&view=all")
        assert call.answer.headers["content-type"] == "text/event-stream"
        assert (len(hello["rows"]), hello["total"], hello["may_close"]) == (2, 4, False)
        answer = await browser.posted("look", {"page": hello["page"], "filter": "listening"})
        assert answer.status == 204
        events = await call.until(lambda events: any(event.get("total") == 1 for event in events))
        look: Any = browser.watching.ledger.seen
        look([replace(LISTENER, backlog=1, state="unconnected"), HIDDEN], 103.0)
        await call.until(lambda later: any(event.get("total") == 0 for event in later))
        assert not any(event["rows"] for event in events[2:-1])  # what is known is not told again
        await ended(call, running)
        assert (await browser.posted("look", {"page": hello["page"]})).status == 404

    browsed(play)


def test_a_slow_page_is_told_the_present() -> None:
    """However long it takes a message: the next one is made when it has been taken, and nothing waits meanwhile."""

    async def play(browser: Browser) -> None:
        may_go_on = asyncio.Event()
        made: list[int] = []
        call = browser.call("events")
        send = call._send

        async def slowly(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body":
                made.append(1)
                await may_go_on.wait()

        call._send = slowly  # type: ignore[method-assign]
        running = asyncio.create_task(call.run())
        await call.until(lambda events: len(events) == 1)
        look: Any = browser.watching.ledger.seen
        for second in range(1_000):
            look([LISTENER, HIDDEN, *([replace(LISTENER, cookie=1_000 + second)])], 103.0 + second)
        assert len(made) == 1  # nothing was made meanwhile
        browser.watching.now = 1_200.0
        may_go_on.set()
        events = await call.until(lambda events: len(events) == 2)
        assert "1,002 opened" in events[1]["bar"]["told"]
        await ended(call, running)

    browsed(play)


def test_pages_are_bounded() -> None:
    async def play(browser: Browser) -> None:
        calls = [browser.call("events") for _ in range(MOST_PAGES)]
        running = [asyncio.create_task(call.run()) for call in calls]
        for call in calls:
            await call.until(lambda events: len(events) > 0)
        answer = await browser.got("events")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        for call, task in zip(calls, running, strict=True):
            await ended(call, task)
        assert browser.page._open == {}
        assert (await browser.got("events?view=nothing")).status == 400

    browsed(play)


def test_numbers_of_rows_that_have_gone_are_forgotten() -> None:
    async def play(browser: Browser) -> None:
        call = browser.call("events")
        running = asyncio.create_task(call.run())
        await call.until(lambda events: len(events) > 0)
        working = asyncio.create_task(browser.page.work())
        assert len(browser.page._numbers) == 4
        look: Any = browser.watching.ledger.seen
        look([LISTENER, HIDDEN], 103.0)
        look([LISTENER, HIDDEN], 104.0)
        look([LISTENER, HIDDEN], 120.0)
        while len(browser.page._numbers) > 2:
            await asyncio.sleep(0)
        assert browser.watching.taken > 0  # changes do not pile up
        working.cancel()
        await running  # the page is told that this is all
        assert not call.messages[-1].get("more_body")

    browsed(play)


def test_what_fails_in_watching_ends_the_work() -> None:
    async def play(browser: Browser) -> None:
        def take() -> list[Any]:
            raise SocketError("watch", None, "ends of sockets: gone", 5)

        browser.watching.take = take
        with pytest.raises(SocketError, match="gone"):
            await browser.page.work()

    browsed(play)


# --- what is changed


async def number_of(browser: Browser, state: str) -> int:
    call, running, hello = await browser.open()
    await ended(call, running)
    return next(int(number) for number, row in hello["rows"].items() if row["state"] == state)


def test_closing_is_off_unless_allowed() -> None:
    async def play(browser: Browser) -> None:
        answer = await browser.posted("close", {"number": await number_of(browser, "established")})
        assert (answer.status, "--allow-close" in answer.text) == (403, True)

    browsed(play)


def test_closing() -> None:
    closed: list[Any] = []

    async def play(browser: Browser) -> None:
        number = await number_of(browser, "established")
        assert (await browser.posted("close", {"number": number})).status == 204
        assert [row.entry.cookie for row in closed] == [2]
        assert (await browser.posted("close", {"number": await number_of(browser, "closed")})).status == 409
        assert (await browser.posted("close", {"number": 999})).status == 409

        def refuse(row: Any) -> None:
            raise SocketError("destroy", None, "needs CAP_NET_ADMIN", 1)

        browser.page._close_socket = refuse
        answer = await browser.posted("close", {"number": number})
        assert (answer.status, "CAP_NET_ADMIN" in answer.text) == (409, True)

    browsed(play, close_socket=closed.append)


def test_only_the_page_closes() -> None:
    closed: list[Any] = []

    async def play(browser: Browser) -> None:
        value = {"number": await number_of(browser, "established")}
        for wrong in ({"x_socketkit_key": "guessed"}, {"x_socketkit_key": "\xfc"}, {"content_type": "text/plain"}):
            assert (await browser.posted("close", value, **wrong)).status == 403
        assert browser.key not in (await browser.got("")).text
        assert closed == []
        kind = "application/json; charset=utf-8"
        assert (await browser.posted("close", value, content_type=kind)).status == 204

    browsed(play, close_socket=closed.append)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"number": "x"}', b"{}", b"[" * 10_000])
def test_what_is_no_request(body: bytes) -> None:
    async def play(browser: Browser) -> None:
        await number_of(browser, "established")
        assert (await browser.posted("close", body)).status == 400

    browsed(play, close_socket=lambda row: None)


def test_requests_are_bounded() -> None:
    async def play(browser: Browser) -> None:
        await number_of(browser, "established")
        assert (await browser.posted("look", {"page": "x" * 20_000})).status == 413

    browsed(play)


# --- the rest


def test_metrics() -> None:
    async def play(browser: Browser) -> None:
        answer = await browser.got("metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        names = {family.name for family in text_string_to_metric_families(answer.text)}
        assert {"socketkit_sockets", "socketkit_opened", "socketkit_listeners"} <= names
        assert "socketkit_findings" not in names  # no audit has looked yet
        assert (await browser.posted("metrics", {})).status == 405
        await browser.page._auditing.again()
        assert 'socketkit_findings{id="OP1",severity="' in (await browser.got("metrics")).text

    browsed(play)


def test_lifespan_and_websockets() -> None:
    async def play(browser: Browser) -> None:
        waiting = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return waiting.pop(0)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await browser.page({"type": "lifespan"}, receive, send)
        await browser.page({"type": "websocket", "path": "/", "headers": []}, receive, send)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]

    browsed(play)
