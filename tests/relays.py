"""Somebody on the way: a plain relay in front of a TLS listener that keeps, holds back, adds and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from socketkit import Endpoint, Identity, Limits, Stream, connect
from socketkit.testing.claims import until


class Wire:
    """`local` is the listener's address by way of the wire. "client" and "server" are the sides that send."""

    def __init__(
        self,
        address: str,
        handler: Callable[[Stream], Coroutine[Any, Any, None]] | None = None,
        identity: Identity | None = None,
    ) -> None:
        self._address, self._handler, self._identity = address, handler, identity
        self._stack, self._tasks = AsyncExitStack(), asyncio.Queue[Stream]()
        self._seen = {"client": bytearray(), "server": bytearray()}
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._held: dict[str, bytearray] = {}
        self._carrying = 0

    async def __aenter__(self) -> Self:
        from socketkit import serve

        server = await self._stack.enter_async_context(
            serve(self._address, self._handler or self._tell, identity=self._identity)
        )
        self._port = server.local.port
        wire = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self._stack.push_async_callback(self._shut, wire)
        self.local: Endpoint = server.local.replace(port=wire.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[Stream, Stream]]:
        """A client and whom it has reached."""
        ours = await connect(self.local, limits=Limits(close_seconds=0.2))
        theirs = await self._tasks.get()
        try:
            yield ours, theirs
        finally:
            ours.abort()
            theirs.abort()

    def records(self, side: str) -> list[tuple[int, bytes]]:
        """The whole records that this side has sent: content type and content."""
        found, at, seen = [], 0, self._seen[side]
        while at + 5 <= len(seen):
            length = int.from_bytes(seen[at + 3 : at + 5], "big")
            found.append((seen[at], bytes(seen[at + 5 : at + 5 + length])))
            at += 5 + length
        return found

    def forget(self) -> None:
        """What was seen before is not told any more."""
        for seen in self._seen.values():
            seen.clear()

    async def settled(self) -> None:
        """Waits until every connection by way of it is over, and all that was sent has been seen."""
        await until(lambda: not self._carrying)

    def hold(self, side: str) -> None:
        """Keeps what this side sends until something is injected behind it."""
        self._held[side] = bytearray()

    async def held(self, side: str) -> None:
        """Waits until something is held back."""
        await until(lambda: self._held[side])

    async def inject(self, side: str, data: bytes) -> None:
        """Adds to what this side has sent."""
        self._writers[side].write(bytes(self._held.pop(side, b"")) + data)
        await self._writers[side].drain()

    async def end(self, side: str) -> None:
        """Ends what this side has sent, in its name."""
        self._writers[side].write_eof()

    async def _tell(self, stream: Stream) -> None:
        self._tasks.put_nowait(stream)
        while not stream.closed:
            await asyncio.sleep(0.005)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._carrying += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers = {"client": far_writer, "server": writer}
        try:
            await asyncio.gather(self._copy("client", reader, far_writer), self._copy("server", far_reader, writer))
        except asyncio.CancelledError:
            pass  # asyncio's servers tell of it as of a fault
        finally:
            self._carrying -= 1
            for end in (writer, far_writer):
                end.close()

    async def _copy(self, side: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                self._seen[side] += data
                if side in self._held:
                    self._held[side] += data
                else:
                    writer.write(data)
                    await writer.drain()
            writer.write_eof()
        except (OSError, RuntimeError):  # uvloop's word for a closed one
            writer.transport.abort()

    @staticmethod
    async def _shut(wire: asyncio.Server) -> None:
        wire.close()
