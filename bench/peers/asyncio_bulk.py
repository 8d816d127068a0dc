"""Bulk in callbacks, `--bulk BYTES` of it: who begins with GET gets them, of others they are counted and answered.

Sending keeps to pause_writing: what the transport may queue is its own limit.
"""

from __future__ import annotations

import asyncio
from typing import cast

from startup import BACKLOG, announce, run, tls_context, value_of

BULK_BYTES = int(value_of("--bulk") or 0)
CHUNK = bytes(262_144)


class Bulk(asyncio.Protocol):
    def __init__(self) -> None:
        self.missing = BULK_BYTES
        self.begun = self.sending = self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports do not inherit from asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self.begun:
            self.begun, self.sending = True, data.startswith(b"GET")
        if self.sending:
            self.send()
            return
        self.missing -= len(data)
        if self.missing <= 0:
            self.transport.write(b".")
            self.transport.close()

    def send(self) -> None:
        while self.missing > 0 and not self.paused:
            self.missing -= len(CHUNK)
            self.transport.write(CHUNK)  # may call pause_writing
        if self.missing <= 0:
            self.transport.close()  # after what is queued

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.sending:
            self.send()


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bulk, "127.0.0.1", 0, backlog=BACKLOG, ssl=tls_context())
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


run(main())
