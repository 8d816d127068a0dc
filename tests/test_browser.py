"""The browser that tests share: what they do not share with it, and what becomes of them when it is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import Browser, browser

if TYPE_CHECKING:
    from playwright.async_api import Page

__all__ = ["browser"]

pytestmark = pytest.mark.slow

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\nConnection: close\r\n\r\n<title>x</>\n"


@pytest.fixture
def own(program: Callable[[str], str], tmp_path: Path) -> Iterator[Browser]:
    """One that may be broken: that of the process is for others."""
    browser = Browser(program("chromium"), tmp_path)
    yield browser
    browser.close()


@asynccontextmanager
async def site() -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PAGE)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def processes(page: Page) -> list[int]:
    """Those of the browser, the first of which started the others."""
    chromium = page.context.browser
    assert chromium is not None
    told = await (await chromium.new_browser_cdp_session()).send("SystemInfo.getProcessInfo")
    return [each["id"] for each in sorted(told["processInfo"], key=lambda each: each["type"] != "browser")]


def test_contexts_share_nothing_but_the_browser(browser: Browser) -> None:
    async def looks() -> tuple[list[int], Any]:
        async with site() as url, browser(page_errors=False) as page:
            await page.goto(url)
            found = await page.evaluate("[document.cookie, localStorage.length]")
            await page.evaluate("document.cookie = 'a=1'; localStorage.a = 1; console.error('mine')")
            return await processes(page), found

    (first, _), (second, found) = browser.run(looks()), browser.run(looks())
    assert first[0] == second[0]
    assert found == ["", 0]


def test_what_the_console_calls_an_error_fails_its_test_only(browser: Browser) -> None:
    async def shows(script: str) -> None:
        async with browser() as page:
            await page.evaluate(script)

    with pytest.raises(AssertionError, match="mine"):
        browser.run(shows("console.error('mine')"))
    browser.run(shows("1"))


def test_nothing_else_goes_on(browser: Browser) -> None:
    left: list[asyncio.Task[None]] = []
    ended: list[str] = []

    async def leaves() -> None:
        async def waits() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("task")

        left.append(asyncio.create_task(waits()))
        await asyncio.sleep(0)
        await asyncio.to_thread(ended.append, "thread")

    before = threading.active_count()
    browser.run(leaves())
    assert left[0].cancelled() and ended == ["thread", "task"]
    assert threading.active_count() <= before + 1  # asyncio's own, which waits for Playwright's process
    browser.run(leaves())


def test_a_lost_browser_is_started_anew_once(own: Browser) -> None:
    async def loses() -> None:
        async with asyncio.timeout(20), own() as page:
            os.kill((await processes(page))[0], signal.SIGKILL)
            while True:
                await page.title()

    async def works() -> None:
        async with own() as page:
            assert await page.title() == ""

    own.test = "test_first"
    with pytest.raises(Exception, match="closed") as failure:
        own.run(loses())
    assert "Chromium ended by itself" in failure.value.__notes__[0]
    own.test = "test_second"
    own.run(works())
    ((kind, words),) = own.told
    assert kind == "told" and "test_first; another was started" in str(words)
    with pytest.raises(Exception, match="closed"):
        own.run(loses())
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"test_first.*test_second"):
            own.run(works())


def test_one_that_hangs_is_killed(own: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.browser.ANSWER_SECONDS", 1)
    monkeypatch.setattr("tests.browser.WAIT_SECONDS", 1)
    found: list[int] = []

    def broken_off() -> None:  # as by a time limit
        raise KeyboardInterrupt

    async def hangs() -> None:
        async with own() as page:
            found.extend(await processes(page))
            os.kill(found[0], signal.SIGSTOP)
            asyncio.get_running_loop().call_soon(broken_off)
            await page.title()

    with pytest.raises(KeyboardInterrupt):
        own.run(hangs())
    assert not Path(f"/proc/{found[0]}").exists()


def test_a_page_is_opened_within_a_run(own: Browser) -> None:
    async def opens() -> None:
        async with own():
            pass

    with pytest.raises(AssertionError, match=r"within browser\.run"):
        asyncio.run(opens())
