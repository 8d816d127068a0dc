"""Echo in callbacks: data_received writes. The fastest that a loop offers without await. TCP_NODELAY: set by the loop.

It has no backpressure (pause_writing is ignored), which a real server would need: a head start, left to the peer.
"""

from __future__ import annotations

import asyncio
from typing import cast

from startup import BACKLOG, announce, run, tls_context


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports do not inherit from asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=BACKLOG, ssl=tls_context())
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


run(main())
