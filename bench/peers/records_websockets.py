"""Messages with the library websockets, without compression; over TLS with `--tls PEM`."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack, suppress
from typing import Any

from records_load import BATCH, CONNECTIONS, END, IN_FLIGHT, ONE_WAY, PORT, RECORD, Window
from startup import BACKLOG, announce, run, tls_context, value_of
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed

TLS = value_of("--tls")


async def echo(connection: ServerConnection) -> None:
    with suppress(ConnectionClosed):
        async for record in connection:
            await connection.send(record)


async def sink(connection: ServerConnection) -> None:
    count = 0
    async for record in connection:
        count += 1
        if record == END:
            await connection.send(str(count - 1).encode())
            count = 0


async def serve() -> None:
    handler = sink if ONE_WAY else echo
    options: Any = {"compression": None, "ping_interval": None, "backlog": BACKLOG, "ssl": tls_context()}
    async with serve_websockets(handler, "127.0.0.1", 0, **options) as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        await asyncio.Event().wait()


def opening() -> connect:
    context = ssl.create_default_context(cafile=TLS) if TLS else None
    address = f"{'wss' if TLS else 'ws'}://localhost:{PORT}"
    return connect(address, host="127.0.0.1", compression=None, ping_interval=None, proxy=None, ssl=context)


async def ask(connection: ClientConnection, window: Window) -> None:
    for _ in range(IN_FLIGHT):
        await connection.send(RECORD)
    async for record in connection:
        if not window.count(1):
            return
        await connection.send(record)


async def pour(connection: ClientConnection, window: Window) -> None:
    window.begin()
    while window.count(BATCH):
        for _ in range(BATCH):
            await connection.send(RECORD)
    await connection.send(END)
    window.counted = int(await connection.recv())


async def load() -> None:
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(CONNECTIONS):
            connection = await stack.enter_async_context(opening())
            await connection.send(END)
            await connection.recv()
            opened.append(connection)
        window = Window()
        await asyncio.gather(*((pour if ONE_WAY else ask)(connection, window) for connection in opened))
        window.report()


run(load() if PORT else serve())
