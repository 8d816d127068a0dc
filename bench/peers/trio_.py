"""Echo with trio's SocketStream. TCP_NODELAY: set by trio."""

from __future__ import annotations

import trio
from startup import BACKLOG, announce


async def echo(stream: trio.SocketStream) -> None:
    try:
        async for chunk in stream:
            await stream.send_all(chunk)
            del chunk  # as in asyncio_streams.py
    except trio.BrokenResourceError:
        pass


async def main() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=BACKLOG)
    announce(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(echo, listeners)


trio.run(main)
