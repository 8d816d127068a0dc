"""Thousands of connections come and go, and leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from socketkit import Stream, connect, serve
from tests.conformance.transports import url
from tests.conftest import Run, open_descriptors

CONNECTIONS = {"tcp4": 10_000, "unix": 10_000, "mem": 10_000, "tls": 3000}
BATCH = 250


@pytest.mark.slow
@pytest.mark.parametrize("transport", CONNECTIONS)
def test_connections_come_and_go(run: Run, transport: str, tmp_path: Path) -> None:
    """Some end in good order, some are reset, some are cancelled in the middle, some fail."""

    async def echo(stream: Stream) -> None:
        async for chunk in stream:
            await stream.send(chunk)

    async def client(where: object, number: int) -> None:
        stream = await connect(where)  # type: ignore[arg-type]
        await stream.send(b"x" * 100)
        match number % 4:
            case 0 | 1:
                await stream.send_eof()
                assert b"".join([chunk async for chunk in stream]) == b"x" * 100
                await stream.aclose()
            case 2:
                assert await stream.receive_exactly(50) == b"x" * 50
                stream.abort()
            case _:
                receiving = asyncio.ensure_future(stream.receive_until(b"\n"))
                await asyncio.sleep(0)
                receiving.cancel()
                await asyncio.wait([receiving])
                await stream.aclose()

    async def batches(where: object, count: int) -> None:
        for _ in range(count):
            await asyncio.gather(*[client(where, number) for number in range(BATCH)])

    connections = CONNECTIONS[transport]

    async def main() -> None:
        async with serve(url(transport, tmp_path), echo) as server:
            await batches(server.local, 4)
            await _quiet(server)
            descriptors, memory = len(open_descriptors()), _resident_bytes()
            await batches(server.local, connections // BATCH - 4)
            await _quiet(server)
            assert len(open_descriptors()) == descriptors
            assert server.stats["accepted"] == connections
            # What one connection keeps would show thousands of times; the allocator's own movements do not.
            grown = _resident_bytes() - memory
            assert grown < 4_000_000, f"{grown} bytes more after {connections} connections"

    before = len(open_descriptors())
    run(main(), 100)
    gc.collect()
    assert len(open_descriptors()) - before <= 2  # libuv keeps a pair for signals


async def _quiet(server: object) -> None:
    while server.connections:  # type: ignore[attr-defined]
        await asyncio.sleep(0.001)
    gc.collect()


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
