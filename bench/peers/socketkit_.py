"""Echo with socketkit, the handler written with await. TCP_NODELAY: set by the engine. `--unlimited`: no limits."""

from __future__ import annotations

import asyncio
import sys

from startup import announce, run

import socketkit


async def echo(stream: socketkit.Stream) -> None:
    async for chunk in stream:
        await stream.send(chunk)
        del chunk  # as in asyncio_streams.py


async def main() -> None:
    limits = socketkit.Limits.unlimited() if "--unlimited" in sys.argv else socketkit.Limits()
    async with socketkit.serve("tcp://127.0.0.1:0", echo, limits=limits) as server:
        announce(server.local.port)
        await asyncio.Event().wait()


run(main())
