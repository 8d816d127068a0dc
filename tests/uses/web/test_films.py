"""A film of a served folder in a browser: it plays, it is gone through by ranges, it ends, it is downloaded whole."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from socketkit.hosting import Wanted, authority
from socketkit.http import Access
from socketkit.uses.web import serve
from tests.browser import opened, trust, until

if TYPE_CHECKING:
    from playwright.async_api import Page, Response

    from tests.browser import Browser

pytestmark = pytest.mark.slow

WIDTH, HEIGHT, SECONDS, TIMES = 192, 108, 3, 10
FILM = "document.querySelector('#stage video')"
PICTURE = f"testsrc2=size={WIDTH}x{HEIGHT}:rate=24,noise=alls=40:allf=t"  # noise is what makes a small film large
SOUND = "sine=frequency=440:sample_rate=48000"

Filmed = Callable[[str, str], Path]


@pytest.fixture
def filmed(program: Callable[[str], str], tmp_path: Path) -> Filmed:
    """`filmed("libvpx", "libvorbis")`: a WebM of half a minute, more than a browser takes of it at once."""
    ffmpeg = program("ffmpeg")
    root = tmp_path / "films"
    root.mkdir()

    def made(*words: object) -> None:
        quiet = [ffmpeg, "-nostdin", "-loglevel", "error"]
        subprocess.run([*quiet, *map(str, words)], check=True, timeout=60)

    def make(video: str, audio: str) -> Path:
        coded = ("-c:v", video, "-deadline", "realtime", "-cpu-used", 8, "-b:v", "2M", "-g", 24, "-c:a", audio)
        part = tmp_path / "part.webm"
        made("-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", SOUND, "-t", SECONDS, *coded, part)
        made("-stream_loop", TIMES - 1, "-i", part, "-c", "copy", root / "film.webm")
        return root

    return make


def test_over_loopback(browser: Browser, filmed: Filmed, tmp_path: Path) -> None:
    root = filmed("libvpx", "libvorbis")

    async def main() -> None:
        told: list[Access] = []
        async with asyncio.timeout(90), serve(root, access=told.append) as hosted, browser() as page:
            await page.goto(hosted.link.url)
            await watched(page, root, tmp_path / "saved")
        assert {access.version for access in told} == {"1.1"}
        assert [access for access in told if access.status == 206 and "film.webm" in access.target]

    browser.run(main())


def test_over_https(home: Path, program: Callable[[str], str], filmed: Filmed, tmp_path: Path) -> None:
    made = authority.make()
    trust(program("certutil"), tmp_path, made.name, made.certificate)
    root = filmed("libvpx-vp9", "libopus")

    async def main() -> None:
        told: list[Access] = []
        wanted = Wanted(on="127.0.0.1", tls=True)
        async with asyncio.timeout(90), serve(root, wanted, access=told.append) as hosted:
            async with opened(program("chromium"), tmp_path) as page:
                await page.goto(hosted.link.url)
                assert await page.evaluate("isSecureContext")
                await watched(page, root, tmp_path / "saved")
        assert {access.version for access in told} == {"2"}
        assert [access for access in told if access.status == 206 and "film.webm" in access.target]

    asyncio.run(main())


async def watched(page: Page, root: Path, saved: Path) -> None:
    """By somebody who opens it, looks at the end of it, and takes it along."""
    starts: list[int] = []
    page.on("response", lambda response: starts.extend(start_of(response)))
    await page.get_by_role("link", name="film.webm").click()
    await until(page, f"{FILM}?.currentTime > 0.5")
    assert await page.evaluate(f"[{FILM}.videoWidth, {FILM}.videoHeight]") == [WIDTH, HEIGHT]
    assert await page.evaluate(f"{FILM}.duration") == pytest.approx(SECONDS * TIMES, abs=0.5)
    assert await page.evaluate(DRAWN) > 20

    await page.evaluate(f"{FILM}.addEventListener('ended', () => {{ window.over = true }})")
    await page.evaluate(f"{FILM}.pause()")
    before = len(starts)
    end = SECONDS * TIMES - 1.5
    await page.evaluate(f"{FILM}.currentTime = {end}")
    await until(page, f"!{FILM}.seeking && {FILM}.currentTime >= {end}")
    size = (root / "film.webm").stat().st_size
    assert max(starts[before:]) > size * 0.8
    assert await page.evaluate("window.over") is None
    await page.evaluate(f"{FILM}.play()")
    await until(page, f"window.over && {FILM}.ended")
    assert await page.evaluate(f"{FILM}.error") is None

    async with page.expect_download() as coming:
        await page.locator("#save").click()
    download = await coming.value
    await download.save_as(saved)
    assert saved.read_bytes() == (root / "film.webm").read_bytes()


def start_of(response: Response) -> list[int]:
    """Where the part of the file begins that this answer gives."""
    if response.status != 206:
        return []
    return [int(response.headers["content-range"].removeprefix("bytes ").partition("-")[0])]


# How far its colours lie apart: a film that is not drawn is of one.
DRAWN = f"""(() => {{
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [{WIDTH}, {HEIGHT}];
    const context = canvas.getContext("2d");
    context.drawImage({FILM}, 0, 0);
    const seen = context.getImageData(0, 0, {WIDTH}, {HEIGHT}).data.filter((_, place) => place % 4 === 0);
    return Math.max(...seen) - Math.min(...seen);
}})()"""
