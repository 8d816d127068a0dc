"""The page in a browser, over a catcher that programs send to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import pytest

from socketkit.uses.mail import Catcher, Failures, Incoming, Store
from socketkit.uses.mail.release import Outlet
from tests.browser import until
from tests.uses.mail.inbox.served import Served, mail, picture, served

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

    from tests.browser import Browser

pytestmark = pytest.mark.slow


def in_browser(play: Callable[[Page, Served], Coroutine[Any, Any, None]], browser: Browser, **options: Any) -> None:
    async def main() -> None:
        async with served() as inbox:
            await played(play, inbox, browser, **options)

    browser.run(main())


async def played(
    play: Callable[[Page, Served], Coroutine[Any, Any, None]], inbox: Served, browser: Browser, **options: Any
) -> None:
    async with asyncio.timeout(60), browser(**options) as page:
        await page.goto(inbox.url)
        await page.locator("#none, #mails li").first.wait_for()
        await play(page, inbox)


async def subjects(page: Page) -> list[str]:
    return await page.locator("#mails .subject").all_inner_texts()


async def opened(page: Page, inbox: Served, message: Any, **options: Any) -> None:
    """Sent, and opened by a click."""
    await inbox.send(message, **options)
    await page.locator("#mails a").first.click()
    await page.locator("#mail h2").wait_for()


def test_a_mail_appears_without_loading_the_page_again(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        assert f"tcp://localhost:{inbox.smtp}" in await page.locator("#none").inner_text()
        assert "~" not in page.url  # the token is not in the browser's history
        await page.evaluate("window.same = true")
        await inbox.send(mail("first"))
        await page.locator("#mails a.unseen", has_text="first").wait_for()
        await inbox.send(mail("second"))
        await page.locator("#mails a", has_text="second").wait_for()
        assert await subjects(page) == ["second", "first"]
        await until(page, "document.querySelector('#held').textContent.startsWith('2 mails')")
        assert await page.evaluate("window.same")

    in_browser(play, browser)


def test_a_mail_that_comes_while_the_list_is_on_its_way_is_not_lost(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        async def held_up(route: Route) -> None:
            answer = await route.fetch()  # as it is before the mail
            await inbox.send(mail("meanwhile"))
            await until(page, "document.querySelector('#held').textContent.startsWith('1 mail')")
            await route.fulfill(response=answer)

        await page.route("**/api/mails?*", held_up, times=1)
        await page.keyboard.press("/")
        await page.keyboard.type(" ")  # asks for the list again, and searches for nothing
        await page.locator("#mails a", has_text="meanwhile").wait_for()
        await until(page, "document.querySelector('#held').textContent.startsWith('1 mail')")
        assert await subjects(page) == ["meanwhile"]

    in_browser(play, browser)


def test_a_mail_that_is_opened_is_read_and_shown(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        await opened(page, inbox, mail("hello", "see https://a.example/x.\n"), password=True)
        await page.locator("#mails a:not(.unseen)").wait_for()
        assert await page.locator("#body pre a").get_attribute("href") == "https://a.example/x"
        assert "Ann <ann@example.org>" in await page.locator("#meta").inner_text()
        await page.get_by_role("tab", name="source").click()
        await page.locator("#body pre", has_text="Subject: hello").wait_for()
        await page.get_by_role("tab", name="headers").click()
        assert "bob@example.org" in await page.locator("#body").inner_text()
        await page.get_by_role("tab", name="links").click()
        assert await page.locator("#body li a").get_attribute("rel") == "noopener noreferrer"
        await page.get_by_role("tab", name="security").click()
        told = await page.locator("#body").inner_text()
        assert "sent in plain text" in told
        assert "ML1" in told
        await page.get_by_role("button", name="mark unread").click()
        await page.locator("#mails a.unseen").wait_for()
        await page.reload()  # its address says which one is open
        await page.locator("#mail h2", has_text="hello").wait_for()

    in_browser(play, browser)


def test_search(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        for subject in ("invoice one", "greeting", "invoice two"):
            await inbox.send(mail(subject))
        await page.locator("#mails a", has_text="two").wait_for()
        await page.keyboard.press("/")
        await page.keyboard.type("subject:inv")
        await until(page, "document.querySelectorAll('#mails li').length === 2")
        assert await subjects(page) == ["invoice two", "invoice one"]
        await inbox.send(mail("invoice three"))
        await inbox.send(mail("another greeting"))
        await until(page, "document.querySelectorAll('#mails li').length === 3")
        await page.locator("#search").fill("nothing")
        await page.locator("#none", has_text="No mail is what you search for").wait_for()
        await page.locator("#search").fill("")
        await until(page, "document.querySelectorAll('#mails li').length === 5")

    in_browser(play, browser)


def test_a_search_that_says_nothing_is_said(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        await page.locator("#search").fill("is:red")
        await page.locator("#problem", has_text="there is no is:red").wait_for()

    in_browser(play, browser, page_errors=False)  # a browser calls a 400 an error


# --- hostile mails


class Elsewhere:
    """Another site; `asked` is what was asked of it, and `called` counts connections."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[str] = []
        self.called = 0


@asynccontextmanager
async def elsewhere() -> AsyncIterator[Elsewhere]:
    body = picture(200, 0, 0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        site.called += 1
        # A browser connects to a page's site once more than it asks it for something.
        with closing(writer), suppress(asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if "favicon" not in head:
                site.asked.append(head)
            kind = "text/html" if " /page" in head else "image/png"
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            writer.write(body)
            await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        site = Elsewhere(server.sockets[0].getsockname()[1])
        yield site


HOSTILE = """<!doctype html><html><head>
<meta http-equiv="refresh" content="0; url={site}/refresh"><base href="{site}/">
<link rel="stylesheet" href="{site}/a.css"><link rel="preconnect" href="{site}"><link rel="prefetch" href="{site}/pre">
<link rel="icon" href="{site}/icon"><style>@import "{site}/b.css"; body {{ background: url({site}/c.png) }}
@font-face {{ font-family: x; src: url({site}/d.woff) }} p {{ font-family: x }}
u {{ background: u\\72l({site}/e.png) }}</style>
<script>parent.postMessage("in", "*"); fetch("{site}/fetch"); top.location = "{site}/top";
document.title = "in"</script>
<script src="{site}/script.js"></script></head>
<body onload="document.body.dataset.ran = 1"><p>Dear customer</p>
<img id="remote" src="{site}/f.png" onerror="document.body.dataset.ran = 1">
<img src=x onerror="document.body.dataset.ran = 1"><svg onload="document.body.dataset.ran = 1"><script>1</script>
<image href="{site}/g.png"/></svg><iframe src="{site}/h"></iframe><iframe srcdoc="<script>top.in = 1</script>"></iframe>
<object data="{site}/i"></object><embed src="{site}/j"><video src="{site}/k" poster="{site}/l" autoplay></video>
<form action="{site}/form"><input autofocus onfocus="this.form.submit()"><button id="submit">go</button></form>
<a id="script" href="javascript:document.body.dataset.ran = 1">a</a>
<a id="away" href="{site}/page" target="_top">b</a>
<!--><link rel=preconnect href="{site}"><script>top.in = 1</script>-->
<noscript><p title="</noscript><img src=x onerror=top.in=1>"></noscript>
<math><mtext><table><mglyph><style><img src=x onerror="top.in = 1"></style></mglyph></table></mtext></math>
"""


def test_a_hostile_mail_does_nothing(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        async with elsewhere() as site:
            await page.evaluate("addEventListener('message', () => { window.in = 1 })")
            await opened(page, inbox, mail("prize", html=HOSTILE.format(site=site.url)))
            frame = page.frame_locator("#body iframe")
            await frame.locator("p", has_text="Dear customer").wait_for()
            await frame.locator("#submit").click()
            await frame.locator("#script").click()
            # What it would do at once it has done by now; pictures that are wanted are loaded after all that.
            assert site.called == 0
            assert await frame.locator("body").get_attribute("data-ran") is None
            assert await page.evaluate("window.in === undefined && document.title.includes('inbox')")
            assert "elsewhere not loaded" in await page.locator("#stopped").inner_text()
            assert "not run" in await page.locator("#stopped").inner_text()
            async with page.context.expect_page() as leaving:
                await frame.locator("#away").click()
            away = await leaving.value
            await away.wait_for_load_state()
            assert await away.evaluate("window.opener === null")
            await away.close()
            (head,) = site.asked
            assert head.startswith("GET /page ")
            assert "referer" not in head.lower()

    in_browser(play, browser, page_errors=False)  # that something was stopped is an error to a browser


def test_pictures_from_elsewhere_come_when_they_are_wanted(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        async with elsewhere() as site:
            await opened(page, inbox, mail("news", html=f'<p>News</p><img src="{site.url}/a.png">'))
            await page.frame_locator("#body iframe").locator("p").wait_for()
            assert site.called == 0
            await page.get_by_role("button", name="show pictures from elsewhere").click()
            image = page.frame_locator("#body iframe").locator("img[src]")
            await image.wait_for()
            async with asyncio.timeout(20):
                while not await image.evaluate("image => image.naturalWidth"):
                    await asyncio.sleep(0.05)
            (head,) = site.asked
            assert "referer" not in head.lower()
            assert "cookie" not in head.lower()  # though it is the same host to a browser

    in_browser(play, browser)


def test_the_frame_is_no_place_of_ours(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        await opened(page, inbox, mail("x", html="<p>x</p>"))
        await page.frame_locator("#body iframe").locator("p").wait_for()
        sandbox = await page.locator("#body iframe").get_attribute("sandbox")
        assert sandbox == "allow-popups allow-popups-to-escape-sandbox"
        assert await page.frames[1].evaluate("origin") == "null"
        # The policy holds, too, when somebody opens the address of the document itself.
        await page.goto(str(await page.evaluate("new URL(document.querySelector('iframe').src).href")))
        assert await page.evaluate("origin") == "null"

    in_browser(play, browser)


def test_names_and_subjects_are_text(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        message = mail("<img src=x onerror='window.in = 1'>")
        message.replace_header("From", '"<b>Ann</b>" <ann@example.org>')
        message.add_attachment(b"x", "text", "html", filename="<i>.html")
        await opened(page, inbox, message)
        assert await subjects(page) == ["<img src=x onerror='window.in = 1'>"]
        assert "<i>.html" in await page.locator("#attachments").inner_text()
        assert await page.evaluate("window.in === undefined && !document.querySelector('main b, main i, main img')")

    in_browser(play, browser)


# --- what is in a mail


def test_a_picture_of_the_mail_itself_is_shown(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        message = mail("logo", html='<img src="cid:logo@x">')
        message.get_payload()[1].add_related(picture(0, 120, 0, 24, 24), "image", "png", cid="<logo@x>")  # type: ignore[union-attr, index]
        await opened(page, inbox, message)
        image = page.frame_locator("#body iframe").locator("img")
        await image.wait_for()
        assert await image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 24

    in_browser(play, browser)


def test_an_attachment_is_saved_byte_for_byte(browser: Browser, tmp_path: Path) -> None:
    content = os.urandom(300_000)

    async def play(page: Page, inbox: Served) -> None:
        message = mail("files")
        message.add_attachment(content, "application", "octet-stream", filename="größe €.bin")
        await opened(page, inbox, message)
        link = page.locator("#attachments a")
        assert "300 kB" in await link.inner_text()
        async with page.expect_download() as downloading:
            await link.click()
        download = await downloading.value
        assert download.suggested_filename == "größe €.bin"
        await download.save_as(tmp_path / "saved")
        assert (tmp_path / "saved").read_bytes() == content
        async with page.expect_download() as downloading:
            await page.locator("#raw").click()
        download = await downloading.value
        assert download.suggested_filename == "files.eml"
        await download.save_as(tmp_path / "raw")
        assert (tmp_path / "raw").read_bytes() == await inbox.store.raw(1)

    in_browser(play, browser)


# --- keys, sizes, changes


def test_keys(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        for subject in ("one", "two", "three"):
            await inbox.send(mail(subject))
        await page.locator("#mails a", has_text="three").wait_for()
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await page.locator("#mail h2", has_text="two").wait_for()
        await page.keyboard.press("j")
        await page.locator("#mail h2", has_text="one").wait_for()
        await page.keyboard.press("k")
        await page.locator("#mail h2", has_text="two").wait_for()
        await page.keyboard.press("3")
        await page.locator("#body pre", has_text="Subject: two").wait_for()
        await page.keyboard.press("d")
        await page.locator("#mail h2", has_text="one").wait_for()
        assert await subjects(page) == ["three", "one"]
        await page.keyboard.press("Escape")
        await page.locator("#hint").wait_for()
        await page.keyboard.press("?")
        await page.locator("#keys[open]").wait_for()

    in_browser(play, browser)


def test_deleted_elsewhere_and_all_at_once(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        for subject in ("one", "two"):
            await inbox.send(mail(subject))
        await page.locator("#mails a", has_text="two").wait_for()
        await inbox.store.delete([2])
        await until(page, "document.querySelectorAll('#mails li').length === 1")
        await page.get_by_role("button", name="delete all").first.click()
        await page.locator("#really").click()
        await page.locator("#none").wait_for()
        assert inbox.store.count == 0
        assert await page.locator("#clear").is_disabled()

    in_browser(play, browser)


def test_more_than_a_page_of_mails(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        for number in range(120):
            raw = mail(f"mail {number}").as_bytes()
            await inbox.store.add(Incoming(time(), "ann@example.org", ("bob@example.org",), raw, {}))
        await until(page, "document.querySelectorAll('#mails li').length === 120")
        await page.reload()
        await until(page, "document.querySelectorAll('#mails li').length === 50")
        await page.locator("#mails li").last.scroll_into_view_if_needed()
        await until(page, "document.querySelectorAll('#mails li').length >= 100")

    in_browser(play, browser)


def test_width_of_the_preview(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        await opened(page, inbox, mail("x", html="<p>x</p>"))
        frame = page.locator("#body iframe")
        await frame.wait_for()
        assert await frame.evaluate("frame => frame.clientWidth") > 600
        await page.get_by_role("button", name="phone").click()
        assert await frame.evaluate("frame => frame.clientWidth") == 375

    in_browser(play, browser)


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_telephone_nothing_is_wider_than_the_screen(browser: Browser, dark: bool) -> None:
    async def fits(page: Page) -> bool:
        return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    async def play(page: Page, inbox: Served) -> None:
        message = mail("a subject " + "x" * 120, "long " + "y" * 400 + "\n", html="<table width=900><td>wide</table>")
        message.add_attachment(b"x", "application", "pdf", filename="z" * 100 + ".pdf")
        message["X-Long"] = "w" * 300
        await inbox.send(message)
        await page.locator("#mails a").wait_for()
        assert await fits(page)
        await page.locator("#mails a").click()
        await page.locator("#mail h2").wait_for()
        assert not await page.locator("#list").is_visible()
        for tab in await page.get_by_role("tab").all():
            if await tab.is_enabled():
                await tab.click()
                assert await fits(page)
        await page.get_by_role("button", name="back to the list").click()
        await page.locator("#mails a").wait_for()

    in_browser(play, browser, width=360, height=640, dark=dark)


# --- sending one on


def test_a_mail_is_sent_on_where_that_is_allowed(browser: Browser) -> None:
    async def main() -> None:
        async with Store() as real, Catcher(real, failures=Failures(["rcpt:eve@*=550 no such user"], 1)) as server:
            assert server.smtps is not None
            outlet = Outlet([server.smtps], ["*@example.org"])

            async def play(page: Page, inbox: Served) -> None:
                await opened(page, inbox, mail("reset your password"))
                await page.get_by_role("button", name="send on").click()
                assert await page.locator("#people").input_value() == "bob@example.org"
                assert await page.locator("#server").input_value() == str(server.smtps)
                assert "*@example.org" in await page.locator("#allowed").inner_text()
                await page.locator("#people").fill("bob@other.example")
                await page.locator("#leave").click()
                await page.locator("#said.no", has_text="no mail may go to bob@other.example").wait_for()
                await page.locator("#people").fill("eve@example.org, bob@example.org")
                await page.locator("#leave").click()
                await page.locator("#said.no", has_text="eve@example.org: 550").wait_for()
                await page.locator("#people").fill("bob@example.org")
                await page.locator("#leave").click()
                await page.locator("#notice", has_text="sent on to bob@example.org").wait_for()
                assert not await page.locator("#releasing").is_visible()
                last, first = await real.newest()
                assert last.recipients == first.recipients == ("bob@example.org",)
                assert await real.raw(last.id) == await inbox.store.raw(1)

            async with served(outlet) as inbox:
                await played(play, inbox, browser, page_errors=False)  # a browser calls a 403 an error

    browser.run(main())


def test_nothing_leaves_unless_it_is_allowed(browser: Browser) -> None:
    async def play(page: Page, inbox: Served) -> None:
        await opened(page, inbox, mail("hello"))
        assert not await page.locator("#release").is_visible()

    in_browser(play, browser)
