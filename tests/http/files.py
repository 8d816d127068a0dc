"""A web server with one file, that breaks in every way it is told to."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from socketkit import Stream, serve


class Files:
    """Serves `content` at every path. What it does wrong is in its fields."""

    def __init__(self, content: bytes, address: str = "tcp://localhost:0") -> None:
        self.content = content
        self.address = address
        self.tag: str | None = '"one"'
        self.asked: list[dict[str, str]] = []
        """The headers of each request; its first line is under ""."""
        self.cuts: list[int] = []
        """After so many bytes of a body, one answer each, the connection ends."""
        self.statuses: list[tuple[int, str]] = []
        """Answers of another kind that come first: status, and more of the head."""
        self.knows_ranges = True
        self.heeds_if_range = True
        self.says_length = True
        self.shifts = 0
        """By so many bytes it says that its parts begin later than was asked."""
        self.extra = b""
        """Comes behind each part, and is counted in its length."""
        self.local = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        async with serve(self.address, self._handle) as server:
            scheme = "https" if self.address.startswith("tls") else "http"
            self.local = f"{scheme}://localhost:{server.local.port}"
            self.pin = server.local.query.get("pin", "")
            yield f"{self.local}/file.bin"

    async def _handle(self, stream: Stream) -> None:
        while True:
            head = (await stream.receive_until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            asked = {"": head[0]}
            for line in head[1:-2]:
                name, _, value = line.partition(":")
                asked[name.lower()] = value.strip()
            self.asked.append(asked)
            if not await self._answer(stream, asked):
                return

    async def _answer(self, stream: Stream, asked: dict[str, str]) -> bool:
        if self.statuses:
            status, more = self.statuses.pop(0)
            await stream.send(f"HTTP/1.1 {status} X\r\n{more}content-length: 0\r\n\r\n".encode())
            return True
        body, head = self.content, "HTTP/1.1 200 OK\r\n"
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.get("range", ""))
        same = not self.heeds_if_range or asked.get("if-range", self.tag) == self.tag
        if wanted and self.knows_ranges and same:
            first = int(wanted[1])
            last = min(int(wanted[2] or len(body)), len(body) - 1)
            if first >= len(body):
                await stream.send(
                    f"HTTP/1.1 416 X\r\ncontent-range: bytes */{len(body)}\r\ncontent-length: 0\r\n\r\n".encode()
                )
                return True
            head = f"HTTP/1.1 206 Part\r\ncontent-range: bytes {first + self.shifts}-{last}/{len(body)}\r\n"
            body = body[first : last + 1] + self.extra
        head += f"etag: {self.tag}\r\n" if self.tag else ""
        head += f"content-length: {len(body)}\r\n" if self.says_length else "connection: close\r\n"
        await stream.send(f"{head}\r\n".encode())
        if self.cuts:
            await stream.send(body[: self.cuts.pop(0)])
            return False
        await stream.send(body)
        return self.says_length
