#!/usr/bin/env python3
"""Takes the pictures of docs/pictures that show the page of a served folder, with files made up for it.

.venv/bin/python tools/pictures_web.py          in some seconds; ffmpeg makes the film
.venv/bin/python tools/pictures_web.py FOLDER   into another folder
"""

from __future__ import annotations

import asyncio
import math
import os
import struct
import subprocess
import sys
import time
import wave
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "python")]

from socketkit.uses import web  # noqa: E402
from tests.browser import Browser, until  # noqa: E402

if TYPE_CHECKING:
    from playwright.async_api import Page


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="socketkit-pictures-") as own:
        os.environ["SOCKETKIT_HOME"] = f"{own}/socketkit"
        served = Path(own) / "Holiday"
        fill(served)
        browser = Browser("/usr/bin/chromium", Path(own) / "browser")
        try:
            browser.run(pictures(browser, served, folder))
            browser.run(uploads(browser, served, Path(own), folder))
        finally:
            browser.close()


async def pictures(browser: Browser, served: Path, folder: Path) -> None:
    async with web.serve(served) as hosted:
        async with browser(width=1000, height=600) as page:
            await page.goto(hosted.link.url)
            await drawn(page)
            await page.screenshot(path=folder / "web-light.png")
            await film(page, folder / "web-film.png")
        async with browser(**NARROW) as page:
            await page.goto(hosted.link.url)
            await drawn(page)
            await page.screenshot(path=folder / "web-dark.png")
            await film(page, folder / "web-film-narrow.png")


async def film(page: Page, path: Path) -> None:
    await page.get_by_role("link", name="ferry.webm").click()
    await until(page, "document.querySelector('video')?.currentTime > 4")
    await page.evaluate("document.querySelector('video').pause()")
    await page.mouse.move(200, 300)  # where the pointer is, what a film is steered by is shown
    await asyncio.sleep(1)  # it comes in slowly
    await page.screenshot(path=path)


async def uploads(browser: Browser, served: Path, own: Path, folder: Path) -> None:
    """One that is on its way, one that is there, and one that is not taken."""
    chosen = [own / "crossing, seen from the upper deck.mp4", own / "menu.txt", own / "bill.pdf"]
    for path, count in zip(chosen, (24_000_000, 2_100, 1_000), strict=True):
        path.write_bytes(bytes(count))
    for name, look in (("web-upload", {"width": 1000, "height": 600}), ("web-upload-narrow", NARROW)):
        # The browser calls it an error that one of them is refused.
        async with web.serve(served, None, web.Manner(upload=True)) as hosted:
            async with browser(page_errors=False, **look) as page:
                await page.goto(hosted.link.url)
                await page.evaluate("document.addEventListener('uploaded', event => event.preventDefault())")
                session = await page.context.new_cdp_session(page)
                bounds = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 3_000_000}
                await session.send("Network.enable")
                await session.send("Network.emulateNetworkConditions", bounds)
                await page.set_input_files("#upload input[type=file]", chosen)
                await until(page, "document.querySelector('progress').value > 0.55")
                await page.screenshot(path=folder / f"{name}.png")
        clear(served, chosen)


def clear(served: Path, chosen: list[Path]) -> None:
    for path in (*served.glob(".socketkit-*"), *(served / path.name for path in chosen if path.name != "bill.pdf")):
        path.unlink(missing_ok=True)


async def drawn(page: Page) -> None:
    await until(page, "[...document.images].every(image => image.complete)")


def fill(folder: Path) -> None:
    for name in ("Maps", "Tickets"):
        (folder / name).mkdir(parents=True)
    picture(
        folder / "sunset.png", lambda x, y: (255 - int(60 * y), int(150 - 110 * min(y * 1.6, 1)), int(60 + 120 * y))
    )
    picture(folder / "meadow.png", lambda x, y: (int(90 + 60 * y), int(150 + 60 * (1 - y)), 230 if y < 0.5 else 60))
    with wave.open(str(folder / "harbour.wav"), "wb") as sound:
        sound.setparams((1, 2, 8_000, 0, "NONE", ""))
        wavy = (int(9_000 * math.sin(moment / 8_000 * 440 * math.tau)) for moment in range(8_000 * 20))
        sound.writeframes(b"".join(struct.pack("<h", value) for value in wavy))
    inputs = [word for source in FERRY for word in ("-f", "lavfi", "-i", f"{source}:r=12:d=8")]
    coded = ("-filter_complex", SAILING, "-map", "[film]", "-c:v", "libvpx", "-deadline", "realtime", "-b:v", "600k")
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", *inputs, *coded, str(folder / "ferry.webm")]
    subprocess.run(command, check=True)
    for name, count in (("bill.pdf", 1_240_000), ("what to bring, and what to leave.txt", 4_200)):
        with (folder / name).open("wb") as file:
            file.truncate(count)
    now = time.time()
    for number, path in enumerate(sorted(folder.iterdir())):
        os.utime(path, (now - 7_200 * number**3 - 40,) * 2)


def picture(path: Path, colour: Callable[[float, float], tuple[int, int, int]]) -> None:
    width, height = 320, 210
    lines = b"".join(
        b"\0" + b"".join(bytes(colour(x / width, y / height)) for x in range(width)) for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    )


NARROW = {"width": 390, "height": 640, "dark": True, "touch": True}
FERRY = (  # the sky, and what swims: hull, deck and funnel
    "gradients=s=960x540:c0=0x27406f:c1=0xffb27a:x0=480:y0=0:x1=480:y1=400:nb_colors=2:speed=0.00001",
    "color=c=0xf4efe6:s=190x34",
    "color=c=0xf4efe6:s=96x30",
    "color=c=0xc2452d:s=18x34",
)
SAILING = (
    "[0][3]overlay=x=226+40*t:y=272[funnel];[funnel][2]overlay=x=184+40*t:y=300[deck];"
    "[deck][1]overlay=x=140+40*t:y=328,drawbox=x=0:y=356:w=960:h=184:color=0x163f5a:t=fill,format=yuv420p[film]"
)

if __name__ == "__main__":
    main()
