"""Peers that we did not write: lksctp-tools, socat and bare sockets, over SCTP and vsock."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from socketkit import (
    BrokenConnection,
    ConnectError,
    EndOfStream,
    Limits,
    ListenError,
    Messages,
    PeerViolation,
    connect,
    listen,
    serve,
)
from socketkit.testing import message_pair, stream_pair
from socketkit.types import vsock
from tests.conftest import Run

Program = Callable[[str], str]
SCTP = 132


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


async def once_there(url: str, kind: type[Messages] | None = None) -> object:
    """Connected as soon as the program listens."""
    while True:
        with suppress(ConnectError):
            return await (connect(url, kind) if kind else connect(url))
        await asyncio.sleep(0.05)


def free_port(family: socket.AddressFamily, protocol: int = 0) -> int:
    with socket.socket(family, socket.SOCK_STREAM, protocol) as probe:
        probe.bind((1, socket.VMADDR_PORT_ANY) if family == socket.AF_VSOCK else ("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- SCTP


def test_socat_echoes_messages(run: Run, program: Program) -> None:
    port = free_port(socket.AF_INET, SCTP)

    async def main() -> None:
        messages = await once_there(f"sctp://127.0.0.1:{port}", Messages)
        assert isinstance(messages, Messages)
        async with messages:
            for size in (1, 1000, 8000):
                await messages.send(b"x" * size)
                assert await messages.receive() == b"x" * size

    with running(program("socat"), f"SCTP-LISTEN:{port},bind=127.0.0.1", "EXEC:cat"):
        run(main(), seconds=30)


def test_socat_calls(run: Run, program: Program) -> None:
    async def main() -> None:
        async def answer(messages: Messages) -> None:
            async for message in messages:
                await messages.send(message.upper())

        async with serve("sctp://127.0.0.1:0", answer, Messages) as server:
            words = [program("socat"), "-t5", "-", f"SCTP-CONNECT:127.0.0.1:{server.local.port}"]
            process = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            assert process.stdin and process.stdout
            process.stdin.write(b"hello\n")
            await process.stdin.drain()
            assert await process.stdout.readline() == b"HELLO\n"
            process.kill()
            await process.wait()

    run(main(), seconds=30)


def test_lksctp_sends_through_us(run: Run, program: Program) -> None:
    """sctp_test has one-to-many sockets and streams of its own; each of its messages is one of ours."""

    async def main() -> None:
        async with listen("sctp://127.0.0.1:0", Messages) as listener:
            words = [program("sctp_test"), "-H", "127.0.0.1", "-P", str(free_port(socket.AF_INET, SCTP))]
            words += ["-h", "127.0.0.1", "-p", str(listener.local.port), "-s", "-c", "3", "-x", "2"]
            process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.DEVNULL)
            messages = await listener.accept()
            assert isinstance(messages, Messages)
            got = [message async for message in messages]
            messages.abort()
            await process.wait()
            assert len(got) > 3
            assert all(got)

    run(main(), seconds=30)


def test_withsctp_makes_a_program_for_tcp_talk_sctp(run: Run, program: Program) -> None:
    port = free_port(socket.AF_INET, SCTP)

    async def main() -> None:
        messages = await once_there(f"sctp://127.0.0.1:{port}", Messages)
        assert isinstance(messages, Messages)
        async with messages:
            await messages.send(b"through withsctp")
            assert await messages.receive() == b"through withsctp"

    with running(program("withsctp"), program("socat"), f"TCP-LISTEN:{port},bind=127.0.0.1", "EXEC:cat"):
        run(main(), seconds=30)


def test_a_message_in_parts_is_one(run: Run) -> None:
    """The kernel gives what is longer than its packets in parts; only the last says that it is."""

    async def main() -> None:
        async with message_pair("sctp://127.0.0.1:0") as (ours, theirs):
            assert ours.max_message_bytes == 212_992
            sent = [os.urandom(size) for size in (200_000, 1, 70_000, 65_484, 65_485, 130_968)]
            for message in sent:
                sending = asyncio.create_task(ours.send(message))
                assert await theirs.receive() == message
                await sending

    run(main(), seconds=30)


def test_a_message_in_parts_that_is_too_long(run: Run) -> None:
    async def main() -> None:
        async with listen("sctp://127.0.0.1:0", Messages, limits=Limits(message_bytes=100_000)) as listener:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM, SCTP) as bare:
                bare.connect(("127.0.0.1", listener.local.port))
                theirs = await listener.accept()
                assert isinstance(theirs, Messages)
                bare.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(bare, bytes(150_000))
                with pytest.raises(PeerViolation, match="150000 bytes in one message"):
                    await theirs.receive()
                await loop.sock_sendall(bare, b"behind it")
                assert await theirs.receive() == b"behind it"
                theirs.abort()

    run(main(), seconds=30)


def test_both_loopback_addresses(run: Run) -> None:
    async def main() -> None:
        async with listen("sctp://:0", Messages) as listener:
            for host in ("127.0.0.1", "[::1]"):
                async with connect(f"sctp://{host}:{listener.local.port}", Messages) as ours:
                    theirs = await listener.accept()
                    assert isinstance(theirs, Messages)
                    assert (ours.peer.credentials, ours.encrypted) == (None, False)
                    await theirs.aclose()

    run(main())


# --- vsock


def test_socat_listens_on_vsock(run: Run, program: Program) -> None:
    port = free_port(socket.AF_VSOCK)

    async def main() -> None:
        from socketkit import Stream

        stream = await once_there(f"vsock://1:{port}")
        assert isinstance(stream, Stream)
        async with stream:
            await stream.send(b"hello" * 10_000)
            assert await stream.receive_exactly(50_000) == b"hello" * 10_000
            await stream.send_eof()
            with pytest.raises(EndOfStream):
                await stream.receive()

    with running(program("socat"), f"VSOCK-LISTEN:{port}", "EXEC:cat"):
        run(main(), seconds=30)


def test_a_bare_socket_has_our_records(run: Run) -> None:
    async def main() -> None:
        async with listen("seqpacket+vsock://1:0", Messages) as listener:
            with socket.socket(socket.AF_VSOCK, socket.SOCK_SEQPACKET) as bare:
                bare.connect((1, listener.local.port))
                theirs = await listener.accept()
                assert isinstance(theirs, Messages)
                bare.send(b"one")
                bare.send(b"two")
                assert [await theirs.receive(), await theirs.receive()] == [b"one", b"two"]
                await theirs.send(b"three")
                assert bare.recv(100) == b"three"
                theirs.abort()

    run(main())


def test_names_on_vsock(run: Run) -> None:
    """Who calls this machine is this machine; nobody's credentials are told; other ids are not this machine's."""

    async def main() -> None:
        async with stream_pair("vsock://:0") as (ours, theirs):
            assert str(ours.local) == str(theirs.peer.endpoint)
            assert str(ours.local).startswith("vsock://1:")
            assert (ours.peer.credentials, theirs.peer.credentials, ours.encrypted) == (None, None, False)
        with pytest.raises(ListenError, match="not this machine's context id"):
            await listen("vsock://77:0")
        with pytest.raises(ConnectError):
            await connect(f"vsock://1:{free_port(socket.AF_VSOCK)}")
        with pytest.raises(ConnectError):
            await connect("vsock://2:7")  # this machine's host has no device for it

    assert vsock.has_loopback()
    run(main())


def test_a_record_that_finds_too_little_room_ends_the_connection(run: Run) -> None:
    """The kernel sends the part for which there is room, and joins to it what comes next: that never arrives."""

    async def main() -> None:
        async with message_pair("seqpacket+vsock://1:0") as (ours, theirs):
            taken = 0
            with pytest.raises(BrokenConnection, match="the kernel took only a part of a message"):
                while True:
                    await ours.send(bytes([taken]) * 9000)
                    taken += 1
            with pytest.raises(BrokenConnection):
                await ours.send(b"joined to it")
            got = [message async for message in theirs]
            assert got == [bytes([number]) * 9000 for number in range(taken)]

    run(main())


def test_on_vsock_an_abort_is_an_end(run: Run) -> None:
    """The transport has one packet for both (RST), and the kernel gives an end for it."""

    async def main() -> None:
        async with stream_pair("vsock://1:0") as (ours, theirs):
            await ours.send(b"before")
            ours.abort()
            assert await theirs.receive() == b"before"
            with pytest.raises(EndOfStream):
                await theirs.receive()

    run(main())
