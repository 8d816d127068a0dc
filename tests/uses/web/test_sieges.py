"""Who asks a folder for what is dear: archives that he does not read, long lists, a file in a thousand parts."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from socketkit import Stream, connect
from socketkit.hosting import Hosted
from socketkit.uses.web import Manner, listing
from socketkit.uses.web.files import Files
from socketkit.uses.web.listing import Listing
from socketkit.uses.web.tree import Tree

from .asking import asked
from .test_service import get, within

pytestmark = pytest.mark.usefixtures("no_leaks")


async def begun(attackers: AsyncExitStack, hosted: Hosted, path: str, *fields: str) -> Stream:
    """A request whose answer is never read."""
    stream = await attackers.enter_async_context(connect(str(hosted.local)))
    lines = [f"GET {hosted.link.prefix}{path} HTTP/1.1", "host: localhost", *fields]
    await stream.send(("\r\n".join(lines) + "\r\n\r\n").encode())
    return stream


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/?zip", "/large"])
def test_answers_that_nobody_reads_keep_nobody_out(tmp_path: Path, path: str) -> None:
    (tmp_path / "large").write_bytes(bytes(20 << 20))
    (tmp_path / "a.txt").write_text("hello")

    async def ask(hosted: Hosted) -> None:
        async with AsyncExitStack() as attackers:
            streams = [await begun(attackers, hosted, path) for _ in range(40)]
            for _ in range(5):
                assert (await get(hosted, f"{hosted.link.prefix}/a.txt")).endswith("\r\n\r\nhello")
                assert " 200 OK" in await get(hosted, f"{hosted.link.prefix}/?json")
            for stream in streams:
                stream.abort()

    within(tmp_path, ask, Manner())


def test_long_lists_are_made_two_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("hello")
    at_once = most = 0
    counting = threading.Lock()
    listed = Listing._listed

    def slowly(self: Listing, *words: Any) -> bytes:
        nonlocal at_once, most
        with counting:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with counting:
            at_once -= 1
        return listed(self, *words)

    monkeypatch.setattr(Listing, "_listed", slowly)

    async def main() -> None:
        with Tree(tmp_path) as tree:
            files = Files(tree, Listing(tree))
            listings = [asyncio.create_task(asked(files, "/?json")) for _ in range(10)]
            assert (await asked(files, "/a.txt")).body == b"hello"
            assert {answer.status for answer in await asyncio.gather(*listings)} == {200}

    asyncio.run(main())
    assert most == listing.LISTINGS_AT_ONCE


def test_a_thousand_parts_are_no_parts(tmp_path: Path) -> None:
    """CVE-2011-3192: the file once, not a thousand times."""
    (tmp_path / "large").write_bytes(bytes(100_000))

    async def ask(hosted: Hosted) -> None:
        for parts in (["0-"] * 1_000, ["0-"] * 16, [f"{at}-" for at in range(1_000)]):
            answer = await get(hosted, f"{hosted.link.prefix}/large", f"range: bytes={','.join(parts)}")
            assert answer.startswith("HTTP/1.1 200 ")
            assert len(answer) < 101_000

    within(tmp_path, ask, Manner())


def test_nothing_is_inflated(tmp_path: Path) -> None:
    """A body that says it is compressed is kept as it comes: there is no bomb where nothing is unpacked."""
    import gzip

    bomb = gzip.compress(bytes(10_000_000))

    async def ask(hosted: Hosted) -> None:
        async with connect(str(hosted.local)) as stream:
            lines = [
                f"PUT {hosted.link.prefix}/bomb HTTP/1.1",
                "host: localhost",
                "connection: close",
                "content-encoding: gzip",
                f"content-length: {len(bomb)}",
            ]
            await stream.send(("\r\n".join(lines) + "\r\n\r\n").encode() + bomb)
            answer = b"".join([chunk async for chunk in stream])
        assert answer.startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 415 ")), answer

    within(tmp_path, ask, Manner(upload=True, max_bytes=1_000_000))
    if (tmp_path / "bomb").exists():
        assert (tmp_path / "bomb").read_bytes() == bomb
