"""`Stream.send_file`: the kernel's cache to the wire, on every kind of stream."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from socketkit import BrokenConnection, ClosedConnection, Identity, Limits, Stream, Trust, connect, listen, sync
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


def kernel_of(stream: Stream) -> tuple[int, int]:
    """How much the kernel takes ahead of the network, and whether it waits for whole segments."""
    with socket.socket(fileno=os.dup(stream.fileno())) as sock:
        names = (socket.TCP_NOTSENT_LOWAT, socket.TCP_CORK)
        lowat, cork = (sock.getsockopt(socket.IPPROTO_TCP, name) for name in names)
    return lowat, cork


def not_sent_bytes(stream: Stream) -> int:
    """What the kernel has taken and the network has not had."""
    answer = fcntl.ioctl(stream.fileno(), SIOCOUTQNSD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


SIOCOUTQNSD = 0x894B


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


@pytest.mark.parametrize("ending", ["whole", "cancelled", "broken"])
def test_the_kernel_takes_no_more_ahead_once_it_is_over(run: Run, big: Path, ending: str) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            before = kernel_of(ours)
            assert before[0] == Limits().notsent_bytes
            with big.open("rb") as file:
                sending = await started(ours.send_file(file))
            await received(theirs, 10 << 20)
            if ending == "whole":
                reading = await started(received(theirs, (20 << 20) - theirs.received_bytes))
                assert await sending == 20 << 20
                await reading
            elif ending == "cancelled":
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
            else:
                theirs.abort()
                with pytest.raises(BrokenConnection):
                    await sending
            assert kernel_of(ours) == before

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


def test_a_peer_that_never_reads_costs_no_more_than_the_limit(run: Run, big: Path) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, _):
            with big.open("rb") as file:
                sending = await started(ours.send_file(file))
            before = -1
            while before != (before := ours.sent_bytes):
                await asyncio.sleep(0.1)
            assert kernel_of(ours)[0] == Limits().notsent_bytes
            assert not_sent_bytes(ours) <= 2 * Limits().notsent_bytes
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending

    run(main())


def test_a_file_after_start_tls_leaves_sealed(run: Run, big: Path) -> None:
    async def main() -> None:
        identity = Identity.new()
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            for sealed in (False, True):
                if sealed:
                    trust = Trust.pin(identity.fingerprint)
                    await asyncio.gather(
                        ours.start_tls(server_side=True, identity=identity),
                        theirs.start_tls(server_side=False, trust=trust),
                    )
                with big.open("rb") as file:
                    sending = await started(ours.send_file(file))
                assert await received(theirs, 20 << 20) == big.read_bytes()
                await sending

    run(main())


@pytest.mark.parametrize("ending", [Stream.send_eof, Stream.aclose])
def test_ending_and_closing_stop_it(run: Run, big: Path, ending: Callable[[Stream], Awaitable[None]]) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            with big.open("rb") as file:
                sending = await started(ours.send_file(file))
                got = await received(theirs, 1 << 20)
                await ending(ours)
                with pytest.raises(ClosedConnection):
                    await sending
            got += b"".join([chunk async for chunk in theirs])
            assert len(got) == ours.sent_bytes < 20 << 20
            assert big.read_bytes().startswith(got)

    run(main())


def test_others_are_served_while_several_go_out(run: Run, big: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            pairs = [await stack.enter_async_context(stream_pair("tcp://127.0.0.1:0")) for _ in range(5)]
            ours, theirs = pairs.pop()
            with big.open("rb") as file:
                sending = [await started(stream.send_file(file)) for stream, _ in pairs]
            reading = [await started(received(stream, 20 << 20)) for _, stream in pairs]
            while not all(task.done() for task in reading):
                await theirs.send(b"?")
                assert await ours.receive() == b"?"
            assert await asyncio.gather(*sending) == [20 << 20] * 4
            assert all(task.result() == big.read_bytes() for task in reading)

    run(main())


@pytest.mark.slow
def test_a_peer_that_stops_in_the_middle_is_cut(run: Run, big: Path) -> None:
    async def main() -> None:
        limits = Limits(write_stalled_seconds=0.5)
        async with listen("tcp://127.0.0.1:0", limits=limits) as listener:
            async with await connect(listener.local) as theirs, await listener.accept() as ours:
                with big.open("rb") as file:
                    sending = await started(ours.send_file(file))
                await received(theirs, 10 << 20)
                with pytest.raises(BrokenConnection, match=r"limits\.write_stalled_seconds"):
                    await sending
                assert listener.stats["write_stalled"] == 1

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
