"""The page in a browser, served by the command as it is run."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.browser import until
from tests.cli.programs import Program, Start

if TYPE_CHECKING:
    from playwright.async_api import Page

    from tests.browser import Browser

pytestmark = pytest.mark.slow


@dataclass
class Pair:
    """A connection within this machine."""

    caller: socket.socket
    callee: socket.socket

    def __post_init__(self) -> None:
        self.name = "tcp://{}:{}".format(*self.caller.getsockname())
        self.port: int = self.callee.getsockname()[1]

    def close(self) -> None:
        self.caller.close()
        self.callee.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        caller = socket.create_connection(listener.getsockname())
        with closing(Pair(caller, listener.accept()[0])) as pair:
            yield pair


@pytest.fixture
def served(socketkit: Start) -> Callable[..., tuple[Program, str]]:
    """`served("port=80")` starts the command; it and the link that it prints."""

    def start(*words: str) -> tuple[Program, str]:
        command = socketkit("watch", "--web", "--own", *words)
        return command, command.endpoint

    return start


Served = Callable[..., tuple[Program, str]]


def in_browser(play: Callable[[Page], Coroutine[Any, Any, None]], browser: Browser, **options: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), browser(**options) as page:
            await play(page)

    browser.run(main())


async def rows_are(page: Page, count: int) -> None:
    await until(page, f"document.querySelectorAll('.row').length === {count}")


async def listener_is(page: Page, place: int) -> None:
    """Wait until the listener is the row at that place."""
    await page.locator(f".row[aria-rowindex='{place}'] .state", has_text="listening").wait_for()


def row(page: Page, local: str) -> Any:
    return page.locator(".row", has=page.locator(".local", has_text=local))


# --- what is shown


def test_a_connection_is_shown_until_it_has_faded(browser: Browser, served: Served, pair: Pair) -> None:
    _, url = served(f"port={pair.port}", "established")

    async def play(page: Page) -> None:
        await page.goto(url)
        ours = row(page, pair.name)
        await ours.wait_for()
        assert await ours.locator(".state").text_content() == "established"
        assert f"[{os.getpid()}]" in (await ours.locator(".process").text_content() or "")
        pair.caller.sendall(bytes(70_000))
        await ours.locator(".spark path:not([d=''])").wait_for(state="attached")
        pair.close()
        closed = page.locator(".row.closed", has=page.locator(".local", has_text=pair.name))
        await closed.wait_for()
        assert await closed.locator(".sent").text_content() == "70.0 kB"  # what it came to
        await until(page, "Number(document.querySelector('.row.closed').style.opacity) < 0.8")
        await closed.wait_for(state="detached")

    in_browser(play, browser)


def test_views_sorting_and_holding(browser: Browser, served: Served, pair: Pair) -> None:
    _, url = served(f"port={pair.port}")

    async def play(page: Page) -> None:
        await page.goto(url)
        await rows_are(page, 3)
        await page.keyboard.press("2")
        await page.locator(".row.titled", has_text=f"[{os.getpid()}]").wait_for()
        await page.get_by_role("button", name="listeners").click()
        await rows_are(page, 1)
        assert await page.locator(".row .badge").text_content() == "loopback"
        await page.keyboard.press("1")
        await page.get_by_role("button", name="state").click()
        await listener_is(page, 3)
        await page.get_by_role("button", name="state").click()
        await listener_is(page, 1)
        assert await page.locator("[data-column=state]").get_attribute("aria-sort") == "descending"
        await page.reload()  # it looks at the same again
        await listener_is(page, 1)
        await page.keyboard.press("h")
        assert await page.locator("#hold").get_attribute("aria-pressed") == "true"

    in_browser(play, browser)


def test_filter_and_its_fault(browser: Browser, served: Served, pair: Pair) -> None:
    _, url = served(f"port={pair.port}")

    async def play(page: Page) -> None:
        await page.goto(url)
        await rows_are(page, 3)
        await page.keyboard.press("/")
        await page.keyboard.type("listening")
        await rows_are(page, 1)
        await page.keyboard.type(" prot=80")
        problem = page.locator("#problem")
        await problem.filter(has_text="there is no prot").wait_for()
        *_, words, caret = (await problem.text_content() or "").split("\n")
        assert words.index("prot") == caret.index("^")
        assert await page.locator(".row").count() == 1
        await page.fill("#filter", "state=syn-sent")
        await page.locator("#empty").wait_for()
        await page.fill("#filter", "")
        await rows_are(page, 3)
        assert await problem.is_hidden()

    in_browser(play, browser)


def test_details(browser: Browser, served: Served, pair: Pair) -> None:
    _, url = served(f"port={pair.port}", "established")

    async def play(page: Page) -> None:
        await page.goto(url)
        await row(page, pair.name).click()
        detail = page.locator("#detail")
        await detail.locator("dt", has_text="round trip").wait_for()
        assert "capture any tcp and port" in (await detail.locator("#commands").text_content() or "")
        assert await detail.locator("#close").is_hidden()  # it was not allowed
        assert await detail.locator(".life").get_attribute("d")
        await page.keyboard.press("Escape")
        await detail.wait_for(state="hidden")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await detail.wait_for()
        pair.close()
        await detail.locator("dd", has_text="closed").first.wait_for()

    in_browser(play, browser)


def test_a_row_is_left_and_opened_again_at_once(browser: Browser, served: Served, pair: Pair) -> None:
    _, url = served(f"port={pair.port}", "established")
    # As if the command had heard of both before it could say anything: then it has nothing new to say.
    unheard = """() => {
        const real = window.fetch;
        window.fetch = () => { window.fetch = real; return Promise.resolve(new Response(null, { status: 204 })); };
        for (const key of ["Escape", "Enter"])
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    }"""

    async def play(page: Page) -> None:
        await page.goto(url)
        await row(page, pair.name).click()
        detail = page.locator("#detail")
        await detail.wait_for()
        await page.evaluate(unheard)
        await detail.wait_for()

    in_browser(play, browser)


def test_findings_are_shown(browser: Browser, served: Served) -> None:
    with socket.create_server(("0.0.0.0", 0)) as exposed:
        _, url = served(f"port={exposed.getsockname()[1]}")

        async def play(page: Page) -> None:
            await page.goto(url)
            await page.locator("#audit b").wait_for()
            await page.locator("#audit").click()
            await page.locator(".finding", has_text="OP1").wait_for()
            await page.locator(".row .local.mark").wait_for()
            assert await page.locator(".row .badge.everywhere").text_content() == "from everywhere"

        in_browser(play, browser)


def test_many_rows_are_drawn_when_they_are_seen(browser: Browser, served: Served) -> None:
    with ExitStack() as stack:
        for _ in range(600):
            opened = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            opened.bind(("127.0.0.1", 0))
        _, url = served(f"pid={os.getpid()}", "udp")

        async def play(page: Page) -> None:
            await page.goto(url)
            await until(page, "document.getElementById('table').getAttribute('aria-rowcount') >= 600")
            assert await page.locator(".row").count() < 150
            await page.evaluate("document.getElementById('scroll').scrollTop = 1e9")
            await page.locator(".row[aria-rowindex='600']").wait_for()
            assert await page.locator(".row[aria-rowindex='1']").count() == 0
            assert await page.locator(".row").count() < 150

        in_browser(play, browser)


def test_narrow_and_dark(browser: Browser, served: Served, pair: Pair) -> None:
    _, url = served(f"port={pair.port}")
    parts = "[document.documentElement, ...document.querySelectorAll('header, #scroll, #detail')]"
    scrolls_sideways = f"{parts}.some(part => part.scrollWidth > part.clientWidth)"

    async def play(page: Page) -> None:
        await page.goto(url)
        for width in (320, 400, 900):
            await page.set_viewport_size({"width": width, "height": 700})
            await row(page, pair.name).wait_for()
            assert not await page.evaluate(scrolls_sideways), width
            await row(page, pair.name).click()
            await page.locator("#detail dt").first.wait_for()
            assert not await page.evaluate(scrolls_sideways), width
            await page.keyboard.press("Escape")
        grounds = []
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            grounds.append(sum(int(part) for part in ground[4:-1].split(",")))
        light, dark = grounds
        assert dark < 150 < 600 < light

    in_browser(play, browser)


# --- who may


def test_the_token_stays_in_no_address(browser: Browser, served: Served, pair: Pair) -> None:
    command, url = served(f"port={pair.port}")
    token = urlsplit(url).path.strip("/~")

    async def play(page: Page) -> None:
        await page.goto(url)
        await row(page, pair.name).wait_for()
        folder = urlsplit(page.url).path
        assert token not in page.url
        (cookie,) = await page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", folder)
        assert await page.evaluate("document.cookie") == ""
        assert token not in await page.evaluate("document.referrer + JSON.stringify(performance.getEntries())")
        await page.go_back()
        assert token not in page.url

    in_browser(play, browser)
    command.interrupt()
    result = command.finish()
    assert result.err.count(token) == 1  # in the link that is handed out


def test_without_the_token_or_by_another_name_nothing_is_shown(browser: Browser, served: Served, pair: Pair) -> None:
    _, url = served(f"port={pair.port}")
    parts = urlsplit(url)

    async def play(page: Page) -> None:
        for other in (
            f"http://{parts.netloc}/",
            f"http://{parts.netloc}/~wrong/",
            f"http://rebound.test:{parts.port}{parts.path}",
        ):
            answer = await page.goto(other)
            assert answer is not None and answer.status == 403
            assert pair.name not in await page.content()
        assert await page.context.cookies() == []
        answer = await page.goto(f"http://127.0.0.1:{parts.port}{parts.path}")
        assert answer is not None and answer.status == 200

    in_browser(play, browser, page_errors=False)


@pytest.mark.privileged
def test_closing_asks_first(browser: Browser, served: Served, pair: Pair) -> None:
    _, url = served("--allow-close", f"port={pair.port}", "established")

    async def play(page: Page) -> None:
        await page.goto(url)
        await row(page, pair.name).click()
        await page.locator("#close").click()
        asked = page.locator("#question")
        assert pair.name in (await asked.text_content() or "")
        await page.keyboard.press("Enter")  # the answer at hand is the one that changes nothing
        await asked.wait_for(state="hidden")
        pair.caller.sendall(b"still there")
        await page.keyboard.press("k")
        await page.get_by_role("button", name="close it").click()
        await page.locator("#notice", has_text="closed").wait_for()
        with pytest.raises(ConnectionAbortedError):
            pair.caller.recv(1)

    in_browser(play, browser)


def test_the_command_ends_beside_an_open_page(browser: Browser, served: Served, pair: Pair) -> None:
    command, url = served(f"port={pair.port}")

    async def play(page: Page) -> None:
        await page.goto(url)
        await row(page, pair.name).wait_for()
        command.interrupt()
        assert (await asyncio.to_thread(command.finish)).status == 130
        await page.locator("#lost").wait_for()

    in_browser(play, browser, page_errors=False)
