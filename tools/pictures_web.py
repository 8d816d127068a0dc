#!/usr/bin/env python3
"""Takes the pictures of docs/pictures that show the page of a served folder, with files made up for it.

.venv/bin/python tools/pictures_web.py          in some seconds
.venv/bin/python tools/pictures_web.py FOLDER   into another folder
"""

from __future__ import annotations

import asyncio
import math
import os
import struct
import sys
import time
import wave
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "python")]

from socketkit.uses import web  # noqa: E402
from tests.browser import opened  # noqa: E402


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    with TemporaryDirectory(prefix="socketkit-pictures-") as own:
        os.environ["SOCKETKIT_HOME"] = f"{own}/socketkit"
        served = Path(own) / "Holiday"
        fill(served)
        asyncio.run(pictures(served, Path(own), folder))


async def pictures(served: Path, own: Path, folder: Path) -> None:
    async with web.serve(served) as hosted:
        async with opened("/usr/bin/chromium", own / "wide", width=1000, height=560) as page:
            await page.goto(hosted.link.url)
            await page.screenshot(path=folder / "web-light.png")
        async with opened("/usr/bin/chromium", own / "narrow", width=390, height=640, dark=True) as page:
            await page.goto(hosted.link.url)
            await page.screenshot(path=folder / "web-dark.png")


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
    for name, count in (
        ("ferry.mp4", 48_200_000),
        ("bill.pdf", 1_240_000),
        ("what to bring, and what to leave.txt", 4_200),
    ):
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


if __name__ == "__main__":
    main()
