"""The stops of the tour where something is served that people use: a page is fetched, a mail caught."""

from __future__ import annotations

import asyncio
import base64
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


async def meet_mail(visit: Visit) -> None:
    """Mail is caught under TLS: small ones on one connection, each committed when it is answered, and a large one."""
    from ..uses.mail import Catcher, Store

    lines = base64.encodebytes(os.urandom(BULK_BYTES // 2)).replace(b"\n", b"\r\n")
    async with (
        Store() as store,
        Catcher(store, smtp=None, smtps=visit.endpoint, imap=None, pop3=None) as catcher,
        connect(catcher.addresses["smtps"]) as stream,
    ):
        visit.endpoint, visit.peer = str(catcher.smtps), described(stream.peer)
        visit.encrypted = stream.encrypted
        visit.cipher, visit.key_exchange = stream.ciphers or (None, None)
        await _replied(stream, "220")
        await _said(stream, "EHLO tour", "250")
        taken = []
        for number in range(ROUND_TRIPS):
            begun = time.perf_counter()
            await _mailed(stream, f"Subject: {number}\r\n\r\nsmall\r\n".encode())
            taken.append(time.perf_counter() - begun)
        visit.latency_seconds = statistics.median(taken)
        begun = time.perf_counter()
        await _mailed(stream, b"Subject: large\r\n\r\n" + lines)
        visit.bytes_per_second = len(lines) / (time.perf_counter() - begun)
        (caught,) = await store.newest(1)
        raw = await store.raw(caught.id) or b""
        require(store.count == ROUND_TRIPS + 1, "not every mail was caught")
        require(raw.endswith(b"\r\n\r\n" + lines), "the mail came changed")
        await _said(stream, "QUIT", "221")
        visit.sent_bytes, visit.received_bytes = stream.sent_bytes, stream.received_bytes


async def _mailed(stream: Stream, mail: bytes) -> None:
    await _said(stream, "MAIL FROM:<tour@localhost>", "250")
    await _said(stream, "RCPT TO:<tour@localhost>", "250")
    await _said(stream, "DATA", "354")
    await stream.send(mail + b".\r\n")
    await _replied(stream, "250")


async def _said(stream: Stream, line: str, code: str) -> None:
    await stream.send(f"{line}\r\n".encode())
    await _replied(stream, code)


async def _replied(stream: Stream, code: str) -> None:
    line = b"   -"
    while line[3:4] == b"-":  # another line of the same reply follows
        line = await stream.receive_until(b"\r\n")
    require(line.startswith(code.encode()), f"the server said {line.decode('ascii', 'replace').strip()}")


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
