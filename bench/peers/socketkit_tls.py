"""Over TLS with socketkit, the identity from `--tls PEM`: an echo, or `--bulk BYTES` as in asyncio_bulk.py."""

from __future__ import annotations

import asyncio

from startup import announce, run, value_of

import socketkit

PEM = value_of("--tls") or ""
BULK_BYTES = int(value_of("--bulk") or 0)
CHUNK = bytes(262_144)


async def echo(stream: socketkit.Stream) -> None:
    async for chunk in stream:
        await stream.send(chunk)
        del chunk  # as in asyncio_streams.py


async def bulk(stream: socketkit.Stream) -> None:
    first, missing = await stream.receive(), BULK_BYTES
    if first.startswith(b"GET"):
        while missing > 0:
            await stream.send(CHUNK)
            missing -= len(CHUNK)
        return
    missing -= len(first)
    while missing > 0:
        missing -= len(await stream.receive(len(CHUNK)))
    await stream.send(b".")


async def main() -> None:
    identity = socketkit.Identity.load(PEM)
    handler = bulk if BULK_BYTES else echo
    async with socketkit.serve("tls://127.0.0.1:0", handler, identity=identity) as server:
        announce(server.local.port)
        await asyncio.Event().wait()


run(main())
