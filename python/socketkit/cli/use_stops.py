"""The stops of the tour where something is served that people use: a page is fetched."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..verbs import connect
from .arguments import described
from .visits import BULK_BYTES, ROUND_TRIPS, require

if TYPE_CHECKING:
    from ..connection import Stream
    from .visits import Visit


async def meet_web(visit: Visit) -> None:
    """A folder is served; its page is fetched many times, and a file of some size once."""
    from ..http import serve
    from ..uses.web.files import Files
    from ..uses.web.tree import Tree

    page, film = b"<!doctype html><title>tour</title>", os.urandom(BULK_BYTES)
    with TemporaryDirectory(prefix="tour-") as folder:
        await asyncio.to_thread(_fill, Path(folder), page, film)
        with Tree(folder) as tree:
            async with serve(visit.endpoint, Files(tree)) as server, connect(server.local) as stream:
                visit.endpoint, visit.peer = str(server.local), described(stream.peer)
                visit.encrypted = stream.encrypted
                visit.cipher, visit.key_exchange = stream.ciphers or (None, None)
                taken = []
                for _ in range(ROUND_TRIPS):
                    begun = time.perf_counter()
                    require(await _got(stream, "/", visit) == page, "another page came")
                    taken.append(time.perf_counter() - begun)
                visit.latency_seconds = statistics.median(taken)
                begun = time.perf_counter()
                require(await _got(stream, "/film", visit) == film, "the file came changed")
                visit.bytes_per_second = len(film) / (time.perf_counter() - begun)


def _fill(folder: Path, page: bytes, film: bytes) -> None:
    (folder / "index.html").write_bytes(page)
    (folder / "film").write_bytes(film)


async def _got(stream: Stream, path: str, visit: Visit) -> bytes:
    await stream.send(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    head = (await stream.receive_until(b"\r\n\r\n")).lower()
    require(head.startswith(b"http/1.1 200 "), "the server did not give the page")
    body = await stream.receive_exactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    visit.sent_bytes, visit.received_bytes = stream.sent_bytes, stream.received_bytes
    return body
