"""Messages with pyzmq, ROUTER and DEALER, in plain text.

As it is fastest: blocking, with its I/O in a thread of its own that puts many messages into one system call. With
`--asyncio` its coroutines.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import zmq
import zmq.asyncio
from records_load import CONNECTIONS, END, IN_FLIGHT, ONE_WAY, PORT, RECORD, Window
from startup import announce, run

AWAITED = "--asyncio" in sys.argv


def bound(context: Any, kind: int) -> Any:
    sock = context.socket(kind)
    announce(sock.bind_to_random_port("tcp://127.0.0.1"))
    return sock


def called(context: Any, kind: int) -> Any:
    sock = context.socket(kind)
    sock.connect(f"tcp://127.0.0.1:{PORT}")
    return sock


def serve() -> None:
    sock = bound(zmq.Context(), zmq.ROUTER)
    count = 0
    while True:
        parts = sock.recv_multipart()
        if not ONE_WAY:
            sock.send_multipart(parts)
            continue
        count += 1
        if parts[1] == END:
            sock.send_multipart([parts[0], str(count - 1).encode()])
            count = 0


def load() -> None:
    context = zmq.Context()
    socks = [called(context, zmq.DEALER) for _ in range(CONNECTIONS)]
    for sock in socks:
        sock.send(END)
        sock.recv()
    window = Window()
    if ONE_WAY:
        pour(socks[0], window)
    else:
        ask(socks, window)
    window.report()
    context.destroy(linger=0)


def ask(socks: list[Any], window: Window) -> None:
    for sock in socks:
        for _ in range(IN_FLIGHT):
            sock.send(RECORD)
    while True:
        for sock in socks:  # each has records on their way, so none is waited for in vain
            count = IN_FLIGHT
            for _ in range(count):
                sock.send(sock.recv())
            if not window.count(count):
                return


def pour(sock: Any, window: Window) -> None:
    window.begin()
    while window.count(64):
        for _ in range(64):
            sock.send(RECORD)
    sock.send(END)
    window.counted = int(sock.recv())


async def serve_awaited() -> None:
    sock = bound(zmq.asyncio.Context(), zmq.ROUTER)
    count = 0
    while True:
        parts = await sock.recv_multipart()
        if not ONE_WAY:
            await sock.send_multipart(parts)
            continue
        count += 1
        if parts[1] == END:
            await sock.send_multipart([parts[0], str(count - 1).encode()])
            count = 0


async def load_awaited() -> None:
    context = zmq.asyncio.Context()
    socks = [called(context, zmq.DEALER) for _ in range(CONNECTIONS)]
    for sock in socks:
        await sock.send(END)
        await sock.recv()
    window = Window()
    await asyncio.gather(*((pour_awaited if ONE_WAY else ask_awaited)(sock, window) for sock in socks))
    window.report()
    context.destroy(linger=0)


async def ask_awaited(sock: Any, window: Window) -> None:
    for _ in range(IN_FLIGHT):
        await sock.send(RECORD)
    while window.count(1):
        await sock.send(await sock.recv())


async def pour_awaited(sock: Any, window: Window) -> None:
    window.begin()
    while window.count(64):
        for _ in range(64):
            await sock.send(RECORD)
    await sock.send(END)
    window.counted = int(await sock.recv())


if AWAITED:
    run(load_awaited() if PORT else serve_awaited())
elif PORT:
    load()
else:
    serve()
