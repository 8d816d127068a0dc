"""The page of a folder in a browser, over sockets."""

from __future__ import annotations

import asyncio
import os
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from socketkit.hosting import Hosted
from socketkit.http import Access
from socketkit.uses.web import Manner, serve
from tests.browser import until

if TYPE_CHECKING:
    from playwright.async_api import Page

    from tests.browser import Browser

pytestmark = pytest.mark.slow

SECONDS, RATE = 600, 8_000
NASTY = '"><img src=x onerror=document.title=1>.txt'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "things"
    (root / "sub").mkdir(parents=True)
    for name, count, moment in (("b.txt", 30, 3_000), ("a10.txt", 10, 2_000), ("a2.txt", 20, 1_000)):
        (root / name).write_text("x" * count)
        os.utime(root / name, (moment, moment))
    (root / NASTY).write_text("nasty")
    (root / ("long" * 50 + ".txt")).touch()
    (root / "dot.png").write_bytes(png())
    (root / "other.png").write_bytes(png())
    with wave.open(str(root / "tone.wav"), "wb") as sound:
        sound.setparams((1, 2, RATE, 0, "NONE", ""))
        sound.writeframes(bytes(SECONDS * RATE * 2))
    return root


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head, pixels = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0), zlib.compress((b"\0" + bytes(6)) * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


Play = Callable[["Page", Hosted, list[Access]], Coroutine[Any, Any, None]]


def played(play: Play, browser: Browser, root: Path, **options: Any) -> None:
    async def main() -> None:
        told: list[Access] = []
        async with asyncio.timeout(60), serve(root, None, Manner(), access=told.append) as hosted:
            async with browser(**options) as page:
                await page.goto(hosted.link.url)
                await play(page, hosted, told)

    browser.run(main())


async def shown(page: Page) -> list[str]:
    names = await page.locator("#rows .row:not([hidden]) .name a").all_text_contents()
    return [name for name in names if name.endswith(".txt") and len(name) < 9]


def test_lists_searches_and_sorts(browser: Browser, root: Path) -> None:
    async def play(page: Page, hosted: Hosted, told: list[Access]) -> None:
        assert "~" not in page.url  # the token is in a cookie by now
        assert await page.title() == "things"
        assert await shown(page) == ["a2.txt", "a10.txt", "b.txt"]
        assert await page.locator("#rows .row").first.locator("a").text_content() == "sub"
        assert await page.get_by_text(NASTY).count() == 1
        await page.get_by_role("link", name="Size").click()
        assert await shown(page) == ["a10.txt", "a2.txt", "b.txt"]
        await page.get_by_role("link", name="Size").click()
        assert await shown(page) == ["b.txt", "a2.txt", "a10.txt"]
        await page.get_by_role("link", name="Changed").click()
        assert await shown(page) == ["a2.txt", "a10.txt", "b.txt"]
        await page.keyboard.press("/")
        await page.keyboard.type("A1")
        assert await shown(page) == ["a10.txt"]
        assert await page.locator("#count").text_content() == "1 of 9"
        await page.get_by_role("searchbox").fill("")
        await page.get_by_role("link", name="sub").click()
        await page.get_by_text("This folder is empty.").wait_for()
        await page.get_by_role("link", name="things").click()
        await page.locator("#rows .row").first.wait_for()
        assert {access.status for access in told} <= {200, 206, 303, 304}

    played(play, browser, root)


def test_pictures_one_after_the_other(browser: Browser, root: Path) -> None:
    async def play(page: Page, hosted: Hosted, told: list[Access]) -> None:
        await page.get_by_role("link", name="dot.png").click()
        await until(page, "document.querySelector('#stage img')?.naturalWidth === 2")
        await page.get_by_role("button", name="Next").click()
        assert await page.locator("#title").text_content() == "other.png"
        await page.keyboard.press("Escape")
        await page.locator("#viewer").wait_for(state="hidden")
        assert await page.evaluate("document.activeElement.textContent") == "other.png"

    played(play, browser, root)


def test_sound_plays_and_seeks_by_ranges(browser: Browser, root: Path) -> None:
    async def play(page: Page, hosted: Hosted, told: list[Access]) -> None:
        await page.get_by_role("link", name="tone.wav").click()
        await until(page, f"document.querySelector('audio')?.duration === {SECONDS}")
        await page.evaluate("document.querySelector('audio').currentTime = 550")
        await until(
            page, "!document.querySelector('audio').seeking && document.querySelector('audio').currentTime >= 550"
        )
        await page.get_by_role("button", name="Close").click()
        assert await page.locator("audio").count() == 0

    played(play, browser, root)


def test_downloads_a_file_and_the_archive(browser: Browser, root: Path, tmp_path: Path) -> None:
    async def play(page: Page, hosted: Hosted, told: list[Access]) -> None:
        async with page.expect_download() as coming:
            await page.get_by_role("link", name="Download as ZIP").click()
        archive = await coming.value
        assert archive.suggested_filename == "things.zip"
        await archive.save_as(tmp_path / "got.zip")
        with zipfile.ZipFile(tmp_path / "got.zip") as got:
            assert got.testzip() is None
            assert got.read("things/b.txt") == b"x" * 30
        await page.get_by_role("link", name="dot.png").click()
        async with page.expect_download() as coming:
            await page.locator("#save").click()
        picture = await coming.value
        assert picture.suggested_filename == "dot.png"
        await picture.save_as(tmp_path / "got.png")
        assert (tmp_path / "got.png").read_bytes() == (root / "dot.png").read_bytes()

    played(play, browser, root)


@pytest.mark.parametrize("width", [320, 390, 1_280])
def test_fits_its_screen(browser: Browser, root: Path, width: int) -> None:
    async def play(page: Page, hosted: Hosted, told: list[Access]) -> None:
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        small = await page.evaluate(
            "[...document.querySelectorAll('.row')].filter(row => row.offsetHeight < 44).length"
        )
        assert small == 0  # a finger needs as much

    played(play, browser, root, width=width, dark=width == 390)
