"""The page in a real browser."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from socketkit.http import serve
from socketkit.uses import web
from socketkit.uses.web.answers import answer
from socketkit.uses.web.files import Files
from socketkit.uses.web.tree import Tree
from socketkit.uses.web.uploads import Uploads, fragment
from socketkit.uses.web.uploads.page import ASSETS
from tests.browser import until

if TYPE_CHECKING:
    from tests.browser import Browser

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; img-src 'self'"
)
PAGE = "<!doctype html><title>files</title><meta name=color-scheme content='light dark'>{}<p id=folder>{}</p>"


@asynccontextmanager
async def site(root: Path, **options: Any) -> AsyncIterator[tuple[str, Uploads]]:
    async def lists(scope: Any, send: Any, folder: Any) -> None:
        names = " ".join(sorted(entry.name for entry in tree.entries(folder)))
        page = PAGE.format(fragment("/.assets/"), names).encode()
        headers = [(b"content-security-policy", POLICY), (b"referrer-policy", b"no-referrer")]
        await answer(scope, send, 200, "text/html; charset=utf-8", page, headers)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        name = scope.get("path", "").removeprefix("/.assets/")
        if name in ASSETS:
            kind = "text/css" if name.endswith("css") else "text/javascript"
            data = resources("socketkit.uses.web").joinpath("page", name).read_bytes()
            await answer(scope, send, 200, kind, data)
        elif name == "/favicon.ico":
            await answer(scope, send, 200, "image/x-icon", b"")
        else:
            await files(scope, receive, send)

    with Tree(root) as tree:
        uploads = Uploads(tree, free_bytes=0, **options)
        files = Files(tree, lists, uploads)
        async with serve("tcp://127.0.0.1:0", application, body_bytes=uploads.body_bytes) as service:
            yield f"http://127.0.0.1:{service.local.port}", uploads


async def slow(page: Any, rate: int) -> Any:
    """The page sends so many bytes a second at most; 0: as many as it can."""
    session = await page.context.new_cdp_session(page)
    bounds = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": rate or -1}
    await session.send("Network.enable")
    await session.send("Network.emulateNetworkConditions", bounds)
    return session


def test_the_address_of_its_assets() -> None:
    assert 'src="/~&quot;x/upload.js"' in fragment('/~"x/')
    assert "{" not in fragment("/")


@pytest.mark.slow
def test_files_are_chosen_and_dropped(browser: Browser, root: Path, tmp_path: Path) -> None:
    data = os.urandom(400_000)
    (tmp_path / "a b.bin").write_bytes(data)
    (tmp_path / "empty").write_bytes(b"")
    (root / "sub" / "there").write_text("mine")
    (tmp_path / "there").write_text("yours")

    async def main() -> None:
        async with browser(page_errors=False) as page, site(root, max_bytes=1_000_000) as (url, _):
            await page.goto(f"{url}/sub/")
            picked = [tmp_path / "a b.bin", tmp_path / "empty", tmp_path / "there"]
            await page.set_input_files("input[type=file]", picked)
            await until(page, "document.querySelectorAll('li.done').length == 2")
            await until(page, "document.querySelectorAll('li.failed').length == 1")
            assert "is not replaced" in await page.inner_text("li.failed output")
            await page.evaluate(
                """() => {
                    const data = new DataTransfer();
                    data.items.add(new File(["dropped"], "d\\u00e4.txt"));
                    data.items.add(new File([new Uint8Array(1000001)], "large"));
                    const told = { dataTransfer: data, bubbles: true, cancelable: true };
                    document.body.dispatchEvent(new DragEvent("drop", told));
                }"""
            )
            await until(page, "document.querySelectorAll('li.done').length == 3")
            await until(page, "document.querySelectorAll('li.failed').length == 2")
            assert "1000001" in await page.inner_text("li.failed:last-child output")

    browser.run(main())
    assert (root / "sub" / "a b.bin").read_bytes() == data
    assert (root / "sub" / "empty").read_bytes() == b""
    assert (root / "sub" / "dä.txt").read_text() == "dropped"
    assert (root / "sub" / "there").read_text() == "mine"
    assert not list(root.rglob(".*"))


@pytest.mark.slow
def test_an_upload_is_paused_reloaded_and_gone_on_with(browser: Browser, root: Path, tmp_path: Path) -> None:
    data = os.urandom(6_000_000)
    chosen = tmp_path / "film.bin"
    chosen.write_bytes(data)

    def here() -> int:
        return sum(path.stat().st_size for path in root.glob(".socketkit-*"))

    async def main() -> None:
        async with browser(width=400) as page, site(root) as (url, _):
            await page.goto(url)
            await slow(page, 1_500_000)
            await page.set_input_files("input[type=file]", chosen)
            async with asyncio.timeout(25):
                while not here():
                    await asyncio.sleep(0.05)
            await page.click("text=Pause")
            await until(page, "document.querySelector('li.paused') != null")
            await page.reload()
            await until(page, "document.querySelector('li.recalled') != null")
            assert "choose this file again" in await page.inner_text("li output")
            before = here()
            assert 0 < before < len(data)
            await slow(page, 0)
            await page.evaluate("document.addEventListener('uploaded', (event) => event.preventDefault())")
            sent: list[int] = []
            page.on("request", lambda request: sent.append(int(request.headers.get("upload-offset", -1))))
            await page.set_input_files("input[type=file]", chosen)
            await until(page, "document.querySelector('li.done') != null")
            assert max(sent) >= before
            assert await page.evaluate("localStorage.length") == 0

    browser.run(main())
    assert (root / "film.bin").read_bytes() == data
    assert not list(root.glob(".*"))


@pytest.mark.slow
def test_the_folder_is_shown_anew(browser: Browser, root: Path, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("x")

    async def main() -> None:
        async with browser() as page, site(root) as (url, _):
            await page.goto(url)
            await page.set_input_files("input[type=file]", tmp_path / "new.txt")
            await until(page, "document.querySelector('#folder').textContent == 'new.txt sub'")

    browser.run(main())


@pytest.mark.slow
def test_without_scripts(browser: Browser, root: Path, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("x")

    async def main() -> None:
        async with browser() as page, site(root) as (url, _):
            await page.route("**/upload.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
            await page.goto(f"{url}/sub/")
            await page.set_input_files("input[type=file]", tmp_path / "new.txt")
            await page.click("button")
            await until(page, "document.querySelector('#folder')?.textContent == 'new.txt'")
            assert page.url == f"{url}/sub/"

    browser.run(main())
    assert (root / "sub" / "new.txt").read_text() == "x"


@pytest.mark.slow
def test_the_page_of_the_service(browser: Browser, root: Path, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("x")

    async def main() -> None:
        async with web.serve(root, None, web.Manner(upload=True)) as hosted, browser() as page:
            await page.goto(hosted.link.url)
            await page.set_input_files("#upload input[type=file]", tmp_path / "new.txt")
            await until(page, "document.querySelector('#rows')?.textContent.includes('new.txt')")
            assert hosted.link.prefix not in page.url

    browser.run(main())
    assert (root / "new.txt").read_text() == "x"
