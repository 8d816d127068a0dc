"""Datagrams with socketkit, one at a time or `--batch`: echo, connected to `--peer PORT` or not, or `--sink`."""

from __future__ import annotations

import sys
from contextlib import suppress

from startup import SINK, announce, answer, is_question, run, value_of, widen

import socketkit

BATCH = "--batch" in sys.argv
PEER = value_of("--peer")


async def echo(udp: socketkit.Datagrams) -> None:
    while True:
        datagram = await udp.receive()
        await udp.answer(datagram, datagram.data)


async def echo_batches(udp: socketkit.Datagrams) -> None:
    while True:
        await udp.send_many(await udp.receive_many())


async def echo_connected(udp: socketkit.Messages) -> None:
    while True:
        await udp.send(await udp.receive())


async def echo_connected_batches(udp: socketkit.Messages) -> None:
    while True:
        await udp.send_many(await udp.receive_many())


async def sink(udp: socketkit.Datagrams) -> None:
    count = 0
    while True:
        datagram = await udp.receive()
        if is_question(datagram.data):
            await udp.answer(datagram, answer(count))
        else:
            count += 1


async def sink_batches(udp: socketkit.Datagrams) -> None:
    count = 0
    while True:
        batch = await udp.receive_many()
        if is_question(batch[-1].data):
            count += sum(not is_question(datagram.data) for datagram in batch)
            await udp.answer(batch[-1], answer(count))
        else:
            count += len(batch)


async def main() -> None:
    if PEER:
        async with socketkit.connect(f"udp://127.0.0.1:{PEER}", socketkit.Messages) as messages:
            widen(messages.fileno())
            announce(messages.local.port)
            while True:
                with suppress(socketkit.UnreachablePeer):  # the load is gone, and something was still on its way
                    await (echo_connected_batches if BATCH else echo_connected)(messages)
    else:
        async with socketkit.bind("udp://127.0.0.1:0") as datagrams:
            widen(datagrams.fileno())
            announce(datagrams.local.port)
            if BATCH:
                await (sink_batches if SINK else echo_batches)(datagrams)
            else:
                await (sink if SINK else echo)(datagrams)


run(main())
