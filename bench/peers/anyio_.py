"""Echo with anyio's SocketStream on asyncio. TCP_NODELAY: set by the loop under it."""

from __future__ import annotations

import anyio
from anyio.abc import SocketAttribute, SocketStream
from startup import BACKLOG, UVLOOP, announce


async def echo(stream: SocketStream) -> None:
    async with stream:
        try:
            async for chunk in stream:
                await stream.send(chunk)
                del chunk  # as in asyncio_streams.py
        except anyio.BrokenResourceError:
            pass


async def main() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0, backlog=BACKLOG)
    announce(listener.extra(SocketAttribute.local_port))
    await listener.serve(echo)


anyio.run(main, backend="asyncio", backend_options={"use_uvloop": UVLOOP})
