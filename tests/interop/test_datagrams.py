"""Peers of messages and datagrams that we did not write: socat, nc, and Python's own sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path

import pytest

from socketkit import ConnectError, EndOfStream, Endpoint, Messages, UnreachablePeer, bind, connect, listen, serve
from tests.conftest import Run
from tests.interop.test_netcat import running

pytestmark = pytest.mark.usefixtures("no_leaks")

Program = Callable[[str], str]

LOOPBACK = {"4": "127.0.0.1", "6": "[::1]"}
FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}
SEQPACKET = int(socket.SOCK_SEQPACKET)


def free_port(family: str) -> int:
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK[family].strip("[]"), 0))
        port: int = probe.getsockname()[1]
        return port


async def said(process: Process, count: int) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(5):
        return await process.stdout.readexactly(count)


async def asked(messages: Messages, question: bytes) -> bytes:
    """The answer of a program that is still starting."""
    async with asyncio.timeout(5):
        while True:
            try:
                await messages.send(question)
                return await messages.receive()
            except UnreachablePeer:
                await asyncio.sleep(0.005)


async def soon(address: str) -> Messages:
    """A connection to a program that is still starting."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await connect(address, Messages)
            except ConnectError:
                await asyncio.sleep(0.005)


# --- UDP


@pytest.mark.parametrize("family", "46")
def test_socat_serves_us_by_udp(run: Run, program: Program, family: str) -> None:
    port = free_port(family)

    async def main() -> None:
        where = f"UDP{family}-LISTEN:{port},bind={LOOPBACK[family]}"
        async with running(program("socat"), where, "EXEC:cat"):
            async with connect(f"udp://{LOOPBACK[family]}:{port}", Messages) as messages:
                for question in (b"one", b"two" * 400, b"three"):
                    assert await asked(messages, question) == question

    run(main())


@pytest.mark.parametrize("kind", ["", "-CONNECT", "-SENDTO", "-DATAGRAM"])
@pytest.mark.parametrize("family", "46")
def test_we_serve_socat_by_udp(run: Run, program: Program, family: str, kind: str) -> None:
    async def main() -> None:
        async with bind(f"udp://{LOOPBACK[family]}:0") as server:
            where = f"UDP{family}{kind}:{LOOPBACK[family]}:{server.local.port}"
            async with running(program("socat"), "STDIO", where) as process:
                assert process.stdin is not None
                for question in (b"from socat", b"x" * 1400):
                    process.stdin.write(question)
                    datagram = await server.receive()
                    assert (datagram.data, datagram.truncated) == (question, False)
                    await server.answer(datagram, question[::-1])
                    assert await said(process, len(question)) == question[::-1]

    run(main())


@pytest.mark.parametrize("family", "46")
def test_nc_serves_us_by_udp(run: Run, program: Program, family: str) -> None:
    port = free_port(family)

    async def main() -> None:
        async with running(program("nc"), "-u", "-l", LOOPBACK[family].strip("[]"), str(port)) as process:
            async with connect(f"udp://{LOOPBACK[family]}:{port}", Messages) as messages:
                assert process.stdin is not None
                process.stdin.write(b"from nc")
                # It answers the first that calls, once it has heard him.
                assert await asked(messages, b"x") == b"from nc"
                await messages.send(b"from us")
                assert (await said(process, 8)).endswith(b"from us")

    run(main())


@pytest.mark.parametrize("family", "46")
def test_we_serve_nc_by_udp(run: Run, program: Program, family: str) -> None:
    async def main() -> None:
        async with bind(f"udp://{LOOPBACK[family]}:0") as server:
            where = (LOOPBACK[family].strip("[]"), str(server.local.port))
            async with running(program("nc"), "-u", *where) as process:
                assert process.stdin is not None
                process.stdin.write(b"question")
                datagram = await server.receive()
                assert datagram.data == b"question"
                await server.answer(datagram, b"answer")
                assert await said(process, 6) == b"answer"

    run(main())


@pytest.mark.parametrize("family", "46")
def test_python_speaks_udp_with_us(run: Run, family: str) -> None:
    """Empty datagrams and the largest there are, both ways."""

    async def main() -> None:
        host = LOOPBACK[family].strip("[]")
        with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as plain:
            plain.bind((host, 0))
            plain.setblocking(False)
            port = plain.getsockname()[1]
            async with connect(f"udp://{LOOPBACK[family]}:{port}", Messages) as messages:
                largest = bytes(messages.max_message_bytes)
                assert len(largest) == {"4": 65_507, "6": 65_527}[family]
                for message in (b"x", b"", largest):
                    await messages.send(message)
                    data, peer = plain.recvfrom(65_536)
                    assert (data, peer[:2]) == (message, (messages.local.host, messages.local.port))
                    plain.sendto(message, peer)
                    assert await messages.receive() == message
            async with bind(f"udp://{LOOPBACK[family]}:0") as server:
                for message in (b"x", b"", largest):
                    plain.sendto(message, (host, server.local.port))
                    datagram = await server.receive()
                    assert (datagram.data, datagram.peer and datagram.peer.port) == (message, port)
                    await server.answer(datagram, message)
                    assert plain.recvfrom(65_536)[0] == message

    run(main())


def test_a_connected_socket_hears_its_peer_only(run: Run) -> None:
    async def main() -> None:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        ):
            peer.bind(("127.0.0.1", 0))
            async with connect(f"udp://127.0.0.1:{peer.getsockname()[1]}", Messages) as messages:
                for sender, data in ((stranger, b"from a stranger"), (peer, b"from the peer")):
                    sender.sendto(data, ("127.0.0.1", messages.local.port))
                assert await messages.receive() == b"from the peer"

    run(main())


# --- Unix datagrams


def unix_names(kind: str, folder: Path) -> tuple[str, str, str]:
    """(our address, socat's word for it, socat's name of its own)"""
    if kind == "path":
        return f"dgram+unix://{folder}/ours", f"UNIX-SENDTO:{folder}/ours", f"{folder}/theirs"
    name = f"socketkit-test-{os.getpid()}"
    return f"dgram+unix://@{name}", f"ABSTRACT-SENDTO:{name}", f"{name}-theirs"


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_we_serve_socat_by_unix_datagrams(run: Run, program: Program, kind: str, tmp_path: Path) -> None:
    ours, theirs, name = unix_names(kind, tmp_path)

    async def main() -> None:
        async with bind(ours) as server, running(program("socat"), "STDIO", f"{theirs},bind={name}") as process:
            assert process.stdin is not None
            process.stdin.write(b"from socat")
            datagram = await server.receive()
            assert datagram.data == b"from socat"
            assert datagram.peer == Endpoint.parse(f"dgram+unix://{'@' * (kind == 'abstract')}{name}")
            await server.answer(datagram, b"from us, and more")
            assert await said(process, 17) == b"from us, and more"

    run(main())


def test_socat_serves_us_by_unix_datagrams(run: Run, program: Program, tmp_path: Path) -> None:
    path = f"{tmp_path}/socket"

    async def main() -> None:
        async with running(program("socat"), f"UNIX-RECVFROM:{path},fork", "EXEC:cat"):
            messages = await soon(f"dgram+unix://{path}")
            async with messages:
                for question in (b"one", b"two"):
                    await messages.send(question)
                    async with asyncio.timeout(5):
                        assert await messages.receive() == question

    run(main())


def test_python_speaks_unix_datagrams_with_us(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plain:
            plain.bind(f"{tmp_path}/plain")
            plain.setblocking(False)
            async with bind(f"dgram+unix://{tmp_path}/ours") as server:
                for message in (b"x", b"", bytes(100_000)):
                    plain.sendto(message, f"{tmp_path}/ours")
                    datagram = await server.receive(200_000)
                    assert datagram.data == message
                    await server.answer(datagram, message)
                    assert plain.recvfrom(200_000) == (message, f"{tmp_path}/ours")
            async with connect(f"dgram+unix://{tmp_path}/plain", Messages) as messages:
                for message in (b"x", b"", bytes(100_000)):
                    await messages.send(message)
                    data, peer = plain.recvfrom(200_000)
                    assert data == message
                    plain.sendto(message, peer)
                    assert await messages.receive() == message

    run(main())


# --- sequenced packets


def packet_names(kind: str, folder: Path) -> tuple[str, str, str]:
    """(our address, socat's to listen on, socat's to connect to)"""
    if kind == "path":
        path = f"{folder}/socket"
        words = f"UNIX-LISTEN:{path}", f"UNIX-CONNECT:{path}"
        return f"seqpacket+unix://{path}", *(f"{word},type={SEQPACKET}" for word in words)
    name = f"socketkit-test-{os.getpid()}"
    words = f"ABSTRACT-LISTEN:{name}", f"ABSTRACT-CONNECT:{name}"
    return f"seqpacket+unix://@{name}", *(f"{word},type={SEQPACKET}" for word in words)


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_socat_serves_us_by_sequenced_packets(run: Run, program: Program, kind: str, tmp_path: Path) -> None:
    ours, theirs, _ = packet_names(kind, tmp_path)

    async def main() -> None:
        async with running(program("socat"), theirs, "EXEC:cat"):
            messages = await soon(ours)
            async with messages:
                for question in (b"one", b"two" * 1000, b"three"):
                    await messages.send(question)
                    assert await messages.receive() == question
                await messages.send_eof()
                with pytest.raises(EndOfStream):
                    await messages.receive()

    run(main())


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_we_serve_socat_by_sequenced_packets(run: Run, program: Program, kind: str, tmp_path: Path) -> None:
    ours, _, theirs = packet_names(kind, tmp_path)

    async def echo(messages: Messages) -> None:
        async for message in messages:
            await messages.send(message)

    async def main() -> None:
        async with serve(ours, echo, Messages), running(program("socat"), "-t", "5", "STDIO", theirs) as process:
            out, _ = await process.communicate(b"from socat")
            assert out == b"from socat"
            assert process.returncode == 0

    run(main())


def test_python_speaks_sequenced_packets_with_us(run: Run, tmp_path: Path) -> None:
    """Borders, the end and a reset; what we send empty is empty there."""
    path = f"{tmp_path}/socket"

    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as plain:
            async with listen(f"seqpacket+unix://{path}", Messages) as listener:
                plain.connect(path)
                async with await listener.accept() as messages:
                    for message in (b"x", bytes(100_000), b"y"):
                        plain.send(message)
                        assert await messages.receive() == message
                        await messages.send(message)
                        assert plain.recv(200_000) == message
                    await messages.send_many([b"", b"behind it"])
                    assert (plain.recv(10), plain.recv(10)) == (b"", b"behind it")
                    plain.shutdown(socket.SHUT_WR)
                    with pytest.raises(EndOfStream):
                        await messages.receive()
                    await messages.send(b"the other half is open")
                    assert plain.recv(100) == b"the other half is open"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as plain:
            plain.bind(f"{path}-theirs")
            plain.listen()
            async with connect(f"seqpacket+unix://{path}-theirs", Messages) as messages:
                accepted, _ = plain.accept()
                with accepted:
                    await messages.send_many([b"1", b"22", b"333"])
                    assert [accepted.recv(10) for _ in range(3)] == [b"1", b"22", b"333"]
                    accepted.send(b"before the end")
                assert [message async for message in messages] == [b"before the end"]

    run(main())
