"""Each limit of a listener, passed by one: who is cut or refused, what the application hears, what is counted."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from socketkit import BrokenConnection, Limits, Messages, PeerViolation, Stream, connect, listen, serve, sync
from socketkit.errors import EndOfStream
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")

NOBODY_TRUSTED: tuple[str, ...] = ()


async def lines(stream: Stream) -> None:
    async for line in stream.lines():
        await stream.send(line + b"\n")


@contextmanager
def callers(port: int | None, count: int, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """Plain sockets, as an attacker has them."""
    with ExitStack() as stack:
        there, here = ("127.0.0.1", port or 0), (source, 0)
        yield [stack.enter_context(socket.create_connection(there, 5, here)) for _ in range(count)]


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def ended(caller: socket.socket) -> bool:
    """Whether the server has ended the connection; what it sent before is thrown away."""
    caller.setblocking(False)
    try:
        while caller.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


async def end_of(caller: socket.socket, seconds: float = 8) -> float:
    """How long the server let it live from now."""
    begun = time.monotonic()
    await until(lambda: ended(caller), seconds)
    return time.monotonic() - begun


def only(stats: dict[str, Any], **expected: object) -> bool:
    """Whether the limits did this and nothing else."""
    quiet = ("accepted", "connections", "sources", "unproven")
    return {name: count for name, count in stats.items() if count and name not in quiet} == expected


# --- time


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"a part of"])
def test_the_first_message_has_its_time(run: Run, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[BaseException] = []

    async def handle(stream: Stream) -> None:
        try:
            await lines(stream)
        except BrokenConnection as failure:
            heard.append(failure)
            raise

    async def main() -> None:
        limits = Limits(first_message_seconds=0.3)
        async with serve("tcp4://127.0.0.1:0", handle, limits=limits) as server:
            with callers(server.local.port, 1) as (caller,):
                caller.sendall(sent)
                assert await end_of(caller) > 0.2
            await until(lambda: heard)
            assert only(server.stats, first_message=1)
            # Who has spoken may be silent afterwards.
            async with connect(server.local) as honest:
                await honest.send(b"hello\n")
                assert await honest.receive() == b"hello\n"
                await asyncio.sleep(1.2)
                await honest.send(b"again\n")
                assert await honest.receive() == b"again\n"

    run(main())
    assert "cut by limits.first_message_seconds" in str(heard[0])
    assert any("1 first message did not come in time" in record.getMessage() for record in caplog.records)


@pytest.mark.slow
def test_who_waits_for_the_application_is_not_cut(run: Run) -> None:
    """It is the application that is slow, and the peer that listens."""

    async def handle(stream: Stream) -> None:
        await asyncio.sleep(1.3)
        await stream.send(b"at last")

    async def main() -> None:
        limits = Limits(first_message_seconds=0.2, idle_seconds=0.2)
        async with serve("tcp4://127.0.0.1:0", handle, limits=limits) as server, connect(server.local) as ours:
            assert await ours.receive() == b"at last"
            with pytest.raises(EndOfStream):
                await ours.receive()

    run(main())


@pytest.mark.slow
def test_the_idle_go(run: Run) -> None:
    async def main() -> None:
        async with serve("tcp4://127.0.0.1:0", lines, limits=Limits(idle_seconds=0.3)) as server:
            with callers(server.local.port, 1) as (caller,):
                caller.sendall(b"hello\n")
                assert await end_of(caller) > 0.2
            await until(lambda: only(server.stats, idle=1))

    run(main())


@pytest.mark.slow
def test_a_drip_goes(run: Run) -> None:
    async def main() -> None:
        limits = Limits(slowest_bytes_per_second=100, slow_window_seconds=0.5)
        async with serve("tcp4://127.0.0.1:0", lines, limits=limits) as server:
            with callers(server.local.port, 1) as (caller,):
                caller.sendall(b"hello\n")
                while not ended(caller):
                    caller.setblocking(True)
                    try:
                        caller.sendall(b"d")
                    except ConnectionError:
                        break
                    await asyncio.sleep(0.05)
            await until(lambda: only(server.stats, slow=1))

    run(main())


@pytest.mark.slow
def test_who_never_reads_goes(run: Run) -> None:
    heard: list[BaseException] = []

    async def pour(stream: Stream) -> None:
        try:
            while True:
                await stream.send(bytes(65536))
        except BrokenConnection as failure:
            heard.append(failure)
            raise

    async def main() -> None:
        limits = Limits(write_stalled_seconds=0.5)
        async with serve("tcp4://127.0.0.1:0", pour, limits=limits) as server:
            with callers(server.local.port, 1):
                await until(lambda: heard)
            assert only(server.stats, write_stalled=1)

    run(main())
    assert "cut by limits.write_stalled_seconds" in str(heard[0])


@pytest.mark.slow
def test_a_connector_gives_up_a_peer_that_never_reads(run: Run) -> None:
    async def main() -> None:
        async with listen("tcp4://127.0.0.1:0") as listener:
            ours = await connect(listener.local, limits=Limits(write_stalled_seconds=0.5))
            theirs = await listener.accept()
            with pytest.raises(BrokenConnection, match=r"cut by limits\.write_stalled_seconds"):
                while True:
                    await ours.send(bytes(65536))
            ours.abort()
            theirs.abort()

    run(main())


@pytest.mark.slow
def test_in_one_process_nobody_is_hurried(run: Run) -> None:
    async def main() -> None:
        limits = Limits(first_message_seconds=0.1, idle_seconds=0.1)
        async with serve("mem://", lines, limits=limits) as server, connect(server.local) as ours:
            await asyncio.sleep(1.2)
            await ours.send(b"late\n")
            assert await ours.receive() == b"late\n"

    run(main())


@pytest.mark.slow
def test_a_blocking_server_cuts_too() -> None:
    def handle(stream: sync.Stream) -> None:
        for line in stream.lines():
            stream.send(line)

    limits = Limits(first_message_seconds=0.3)
    with sync.serve("tcp4://127.0.0.1:0", handle, limits=limits) as server:
        with callers(server.local.port, 1) as (caller,):
            caller.settimeout(5)
            begun = time.monotonic()
            with pytest.raises(ConnectionError):
                if not caller.recv(1):
                    raise ConnectionResetError
            assert time.monotonic() - begun > 0.2
            assert only(server.stats, first_message=1)


# --- how many


def test_the_oldest_silent_one_makes_room(run: Run) -> None:
    """64 connections, a pool of 48: honest callers are served, however many sit there and say nothing."""

    async def main() -> None:
        limits = Limits(connections=64, unproven_connections=48)
        async with serve("tcp4://127.0.0.1:0", lines, limits=limits) as server:
            with callers(server.local.port, 48) as silent:
                await until(lambda: server.stats["unproven"] == 48)
                assert not any(map(ended, silent))
                async with connect(server.local) as honest:
                    await honest.send(b"hello\n")
                    assert await honest.receive() == b"hello\n"
                    await until(lambda: ended(silent[0]))
                    assert not any(map(ended, silent[1:]))
                    assert only(server.stats, evicted=1)

    run(main())


def test_who_has_something_to_say_is_not_evicted(run: Run) -> None:
    """It may still lie in the kernel when the next caller comes."""

    async def main() -> None:
        limits = Limits(connections=64, unproven_connections=1)
        async with listen("tcp4://127.0.0.1:0", limits=limits) as listener:
            with callers(listener.local.port, 2) as (first, second):
                first.sendall(b"mine")
                accepted = [await listener.accept() for _ in range(2)]
                assert not ended(first)
                assert await accepted[0].receive() == b"mine"
                assert only(listener.stats)
                assert not ended(second)
            for stream in accepted:
                stream.abort()

    run(main())


@pytest.mark.parametrize("framed", [False, True])
def test_an_end_is_no_proof(run: Run, framed: bool) -> None:
    """Who ends without a word is as silent as before."""
    heard: list[BaseException] = []

    async def handle(stream: Stream) -> None:
        try:
            await (stream.receive_exactly(1) if framed else stream.receive())
        except EndOfStream as end:
            heard.append(end)
        await asyncio.sleep(60)

    async def main() -> None:
        async with serve("tcp4://127.0.0.1:0", handle, limits=Limits(grace_seconds=0)) as server:
            with callers(server.local.port, 1) as (caller,):
                caller.shutdown(socket.SHUT_WR)
                await until(lambda: heard)
                assert server.stats["unproven"] == 1

    run(main())


def test_a_source_has_so_many(run: Run) -> None:
    async def main() -> None:
        limits = Limits(source_connections=3, source_unproven=3, trusted=NOBODY_TRUSTED)
        async with serve("tcp4://127.0.0.1:0", lines, limits=limits) as server:
            with callers(server.local.port, 3) as settled:
                for caller in settled:
                    caller.sendall(b"x\n")
                await until(lambda: (server.stats["accepted"], server.stats["unproven"]) == (3, 0))
                with callers(server.local.port, 1) as (late,):
                    await until(lambda: ended(late))
                assert only(server.stats, refused_source=1)
                assert server.stats["sources"] == {"127.0.0.1": {"refused_source": 1}}

    run(main())


def test_a_source_has_so_many_silent_ones(run: Run) -> None:
    async def main() -> None:
        limits = Limits(source_unproven=2, trusted=NOBODY_TRUSTED)
        async with serve("tcp4://127.0.0.1:0", lines, limits=limits) as server:
            with callers(server.local.port, 2) as silent:
                await until(lambda: server.stats["unproven"] == 2)
                with callers(server.local.port, 1) as (late,):
                    await until(lambda: ended(silent[0]))
                    assert not ended(late)
                assert only(server.stats, evicted=1)

    run(main())


def test_a_source_comes_so_fast(run: Run) -> None:
    async def main() -> None:
        limits = Limits(source_rate_per_second=1, source_burst=4, trusted=NOBODY_TRUSTED)
        async with serve("tcp4://127.0.0.1:0", lines, limits=limits) as server:
            with callers(server.local.port, 5) as hasty:
                await until(lambda: ended(hasty[4]))
                assert not any(map(ended, hasty[:4]))
            assert only(server.stats, refused_rate=1)

    run(main())


@pytest.mark.slow
def test_who_was_cut_twice_stays_out_for_a_while(run: Run) -> None:
    async def main() -> None:
        limits = Limits(first_message_seconds=0.1, trusted=NOBODY_TRUSTED)
        async with serve("tcp4://127.0.0.1:0", lines, limits=limits) as server:
            with callers(server.local.port, 2) as silent:
                for caller in silent:
                    await end_of(caller)
            with callers(server.local.port, 1) as (again,):
                await until(lambda: ended(again))
            assert only(server.stats, first_message=2, refused_penalty=1)

    run(main())


def test_whom_the_application_accuses_twice_stays_out_for_a_while(run: Run) -> None:
    async def strict(stream: Stream) -> None:
        await stream.receive_until(b"\n")
        stream.penalise()
        await lines(stream)

    async def guess(caller: socket.socket) -> None:
        caller.sendall(b"guess\nit stays open\n")
        caller.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(caller, 64) == b"it stays open\n"

    async def main() -> None:
        async with serve("tcp4://127.0.0.1:0", strict, limits=Limits(trusted=NOBODY_TRUSTED)) as server:
            with (
                callers(server.local.port, 2) as guessers,
                callers(server.local.port, 1, source="127.0.0.2") as (other,),
            ):
                for caller in (*guessers, other):
                    await guess(caller)
                with callers(server.local.port, 1) as (again,):
                    await until(lambda: ended(again))
                with callers(server.local.port, 1, source="127.0.0.2") as (again,):
                    await guess(again)
            assert only(server.stats, abuse=4, refused_penalty=1)
            assert server.stats["sources"]["127.0.0.1"] == {"abuse": 2, "refused_penalty": 1}

    run(main())


@pytest.mark.parametrize("address", ["seqpacket+tcp://127.0.0.1:0", "seqpacket+unix://@accused"])
def test_peers_of_messages_can_be_accused(run: Run, address: str) -> None:
    async def strict(messages: Messages) -> None:
        messages.penalise()
        await messages.send(b"no")

    async def main() -> None:
        async with serve(address, strict, Messages) as server, connect(server.local, Messages) as peer:
            assert await peer.receive() == b"no"
            assert only(server.stats, abuse=1)

    run(main())


def test_a_thread_can_accuse() -> None:
    with sync.listen("tcp4://127.0.0.1:0") as listener, sync.connect(listener.local), listener.accept() as stream:
        stream.penalise()
        assert only(listener.stats, abuse=1)


def test_who_connects_can_accuse_nobody(run: Run) -> None:
    async def main() -> None:
        async with serve("tcp4://127.0.0.1:0", lines) as server, connect(server.local) as stream:
            stream.penalise()
            stream.abort()
            stream.penalise()
            assert only(server.stats)

    run(main())


# --- how large


def test_a_message_is_refused_on_its_length(run: Run) -> None:
    heard: list[BaseException] = []

    async def handle(stream: Stream) -> None:
        size = int.from_bytes(await stream.receive_exactly(4), "big")
        try:
            await stream.send(await stream.receive_exactly(size))
        except PeerViolation as failure:
            heard.append(failure)
            raise

    async def main() -> None:
        async with serve("tcp4://127.0.0.1:0", handle, limits=Limits(message_bytes=1000)) as server:
            async with connect(server.local) as ours:
                await ours.send((1000).to_bytes(4, "big") + bytes(1000))
                assert await ours.receive_exactly(1000) == bytes(1000)
            async with connect(server.local) as ours:
                await ours.send((1001).to_bytes(4, "big"))
                with pytest.raises(BrokenConnection):
                    await ours.receive()

    run(main())
    assert "1001 bytes in one message, and limits.message_bytes is 1000" in str(heard[0])


@pytest.mark.slow
def test_too_much_memory_in_all(run: Run) -> None:
    """Those that keep most go; the others stay."""

    async def pour(stream: Stream) -> None:
        if await stream.receive() == b"much":
            await stream.send(bytes(4_000_000))
        await asyncio.sleep(60)

    async def main() -> None:
        limits = Limits(memory_bytes=6_000_000, message_bytes=1_000_000, grace_seconds=0)
        async with serve("tcp4://127.0.0.1:0", pour, limits=limits) as server:
            with callers(server.local.port, 3) as (modest, first, second):
                modest.sendall(b"little")
                first.sendall(b"much")
                second.sendall(b"much")
                await until(lambda: server.stats["memory"])
                assert not ended(modest)
                assert server.stats["memory"] == 1

    run(main())


# --- what is told


@pytest.mark.slow
def test_the_log_is_told_once_in_a_while(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        limits = Limits(source_rate_per_second=1, source_burst=1, trusted=NOBODY_TRUSTED)
        async with serve("tcp4://127.0.0.1:0", lines, limits=limits) as server:
            for _ in range(100):
                with callers(server.local.port, 1) as (caller,):
                    await until(lambda caller=caller: ended(caller) or True)
            await asyncio.sleep(1.2)
            assert server.stats["refused_rate"] > 90

    with caplog.at_level(logging.WARNING, "socketkit"):
        run(main())
    told = [record.getMessage() for record in caplog.records if record.name == "socketkit"]
    assert len(told) == 1
    assert "came too fast" in told[0]
