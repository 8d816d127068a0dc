"""Records with socketkit: `seqpacket+tls` with the identity of `--tls PEM`, else `seqpacket+tcp`.

Many at a time, or with `--single` one after the other, as other libraries have it.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, suppress

from records_load import BATCH, CONNECTIONS, END, IN_FLIGHT, ONE_WAY, PORT, RECORD, Window
from startup import announce, run, value_of

import socketkit

PEM = value_of("--tls")
SINGLE = "--single" in sys.argv
SCHEME = "seqpacket+tls" if PEM else "seqpacket+tcp"


async def echo(messages: socketkit.Messages) -> None:
    with suppress(socketkit.EndOfStream):
        while True:
            await messages.send_many(await messages.receive_many())


async def echo_single(messages: socketkit.Messages) -> None:
    async for record in messages:
        await messages.send(record)


async def sink_single(messages: socketkit.Messages) -> None:
    count = 0
    async for record in messages:
        count += 1
        if record == END:
            await messages.send(str(count - 1).encode())
            count = 0


async def sink(messages: socketkit.Messages) -> None:
    count = 0
    with suppress(socketkit.EndOfStream):
        while True:
            records = await messages.receive_many()
            count += len(records)
            if records[-1] == END:
                await messages.send(str(count - 1).encode())
                count = 0


async def serve() -> None:
    identity = socketkit.Identity.load(PEM) if PEM else None
    handler = (sink_single if SINGLE else sink) if ONE_WAY else (echo_single if SINGLE else echo)
    async with socketkit.serve(f"{SCHEME}://127.0.0.1:0", handler, socketkit.Messages, identity=identity) as server:
        announce(server.local.port)
        await asyncio.Event().wait()


async def ask(messages: socketkit.Messages, window: Window) -> None:
    if SINGLE:
        for _ in range(IN_FLIGHT):
            await messages.send(RECORD)
        async for record in messages:
            if not window.count(1):
                return
            await messages.send(record)
    records = [RECORD] * IN_FLIGHT
    while True:
        await messages.send_many(records)
        records = await messages.receive_many(IN_FLIGHT)
        if not window.count(len(records)):
            return


async def pour(messages: socketkit.Messages, window: Window) -> None:
    batch = [RECORD] * BATCH
    window.begin()
    while window.count(BATCH):
        if SINGLE:
            for record in batch:
                await messages.send(record)
        else:
            await messages.send_many(batch)
    await messages.send(END)
    window.counted = int(await messages.receive())


async def load() -> None:
    trust = socketkit.Trust.danger_anyone() if PEM else None
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(CONNECTIONS):
            messages = await stack.enter_async_context(
                socketkit.connect(f"{SCHEME}://127.0.0.1:{PORT}", socketkit.Messages, trust=trust)
            )
            await messages.send(END)
            await messages.receive()
            opened.append(messages)
        window = Window()
        await asyncio.gather(*((pour if ONE_WAY else ask)(messages, window) for messages in opened))
        window.report()


run(load() if PORT else serve())
