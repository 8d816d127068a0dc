"""`Stream.send_file`: the kernel's cache to the wire, on every kind of stream."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from socketkit import BrokenConnection, ClosedConnection, Limits, Stream, connect, listen, sync
from socketkit.testing import stream_pair
from socketkit.testing.claims import started
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")
URLS = ["tcp://127.0.0.1:0", "mem://", "tls://127.0.0.1:0"]


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """More than any buffer on the way holds."""
    path = tmp_path / "big"
    path.write_bytes(os.urandom(1 << 20) * 20)
    return path


async def received(stream: Stream, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        got += await stream.receive()
    return bytes(got)


@pytest.mark.parametrize("url", URLS)
def test_a_file_arrives_whole(run: Run, url: str, big: Path) -> None:
    async def main() -> None:
        async with stream_pair(url) as (ours, theirs):
            with big.open("rb") as file:
                sending = await started(ours.send_file(file))
            # It is closed here, and sent from a descriptor of its own.
            assert await received(theirs, 20 << 20) == big.read_bytes()
            assert await sending == 20 << 20

    run(main())


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    ("offset", "count", "expected"),
    [(0, 4, b"0123"), (7, None, b"789"), (7, 100, b"789"), (3, 0, b""), (10, None, b""), (50, 5, b"")],
)
def test_a_part_of_a_file(run: Run, url: str, tmp_path: Path, offset: int, count: int | None, expected: bytes) -> None:
    path = tmp_path / "digits"
    path.write_bytes(b"0123456789")

    async def main() -> None:
        async with stream_pair(url) as (ours, theirs):
            with path.open("rb") as file:
                file.seek(5)
                assert await ours.send_file(file.fileno(), offset, count) == len(expected)
                assert file.tell() == 5
            await ours.send(b"|")
            assert await theirs.receive_until(b"|") == expected + b"|"

    run(main())


@pytest.mark.parametrize("url", URLS)
def test_other_senders_wait_for_its_end(run: Run, url: str, big: Path) -> None:
    async def main() -> None:
        async with stream_pair(url) as (ours, theirs):
            await ours.send(b"before")
            with big.open("rb") as file:
                sending = [await started(ours.send_file(file)), await started(ours.send(b"behind"))]
            assert await received(theirs, 12 + (20 << 20)) == b"before" + big.read_bytes() + b"behind"
            await asyncio.gather(*sending)

    run(main())


def test_a_cancelled_one_lets_the_next_go_on(run: Run, big: Path) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            with big.open("rb") as file:
                sending = await started(ours.send_file(file))
                behind = await started(ours.send(b"behind"))
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await behind
            ending = await started(ours.send_eof())
            got = b"".join([chunk async for chunk in theirs])
            await ending
            assert got.endswith(b"behind")
            assert big.read_bytes().startswith(got[: -len(b"behind")])
            assert len(got) < 20 << 20

    run(main())


def test_what_cannot_be_read_leaves_the_connection_as_it_was(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, theirs):
            folder = os.open(tmp_path, os.O_RDONLY)
            with pytest.raises(IsADirectoryError):
                await ours.send_file(folder)
            os.close(folder)
            with pytest.raises(OSError, match="Bad file descriptor"):
                await ours.send_file(folder)
            with pytest.raises(ValueError, match="0 or more bytes"):
                await ours.send_file(0, -1)
            await ours.send(b"still here")
            assert await theirs.receive() == b"still here"

    run(main())


@pytest.mark.parametrize("url", URLS)
def test_a_peer_that_goes_breaks_it(run: Run, url: str, big: Path) -> None:
    async def main() -> None:
        async with stream_pair(url) as (ours, theirs):
            with big.open("rb") as file:
                sending = await started(ours.send_file(file))
            theirs.abort()
            with pytest.raises(BrokenConnection):
                await sending
            await ours.aclose()
            with big.open("rb") as file, pytest.raises(ClosedConnection):
                await ours.send_file(file)

    run(main())


@pytest.mark.slow
def test_a_peer_that_never_reads_is_cut(run: Run, big: Path) -> None:
    async def main() -> None:
        limits = Limits(write_stalled_seconds=0.5)
        async with listen("tcp://127.0.0.1:0", limits=limits) as listener:
            async with await connect(listener.local), await listener.accept() as ours:
                with big.open("rb") as file, pytest.raises(BrokenConnection, match=r"limits\.write_stalled_seconds"):
                    await ours.send_file(file)
                assert listener.stats["write_stalled"] == 1

    run(main())


def test_a_thread_sends_one_as_well(big: Path) -> None:
    def echo(stream: sync.Stream) -> None:
        while stream.receive_exactly(1) == b"?":
            with big.open("rb") as file:
                assert stream.send_file(file, 1) == (20 << 20) - 1

    with sync.serve("tcp://127.0.0.1:0", echo) as server, sync.connect(server.local) as stream:
        for _ in range(2):
            stream.send(b"?")
            assert stream.receive_exactly((20 << 20) - 1) == big.read_bytes()[1:]
        stream.send(b".")
