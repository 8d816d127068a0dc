"""Messages over kernel sockets: what only they have. The rules of every kind are in tests/conformance."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from socketkit import (
    BrokenConnection,
    ConnectError,
    EndOfStream,
    Limits,
    Messages,
    MessageTooLarge,
    PeerViolation,
    UnreachablePeer,
    Unsupported,
    bind,
    connect,
    listen,
    serve,
    sync,
)
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextmanager
def stranger(path: Path) -> Iterator[socket.socket]:
    """A seqpacket socket of the standard library, connected to `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        yield sock


def test_an_end_is_no_empty_record(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(f"seqpacket+unix://{tmp_path}/s", Messages) as listener:
            with stranger(tmp_path / "s") as theirs:
                async with await listener.accept() as ours:
                    for record in (b"", b"one", b"", b""):
                        theirs.send(record)
                    theirs.shutdown(socket.SHUT_WR)
                    assert [await ours.receive() for _ in range(4)] == [b"", b"one", b"", b""]
                    with pytest.raises(EndOfStream):
                        await ours.receive()
                    await ours.send(b"")
                    assert theirs.recv(10) == b""
                    await ours.send(b"still open this way")
                    assert theirs.recv(100) == b"still open this way"

    run(main())


def test_a_record_of_any_size_comes_whole(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        limits = Limits(message_bytes=8 << 20)
        async with listen(f"seqpacket+unix://{tmp_path}/s", Messages, limits=limits) as listener:
            with stranger(tmp_path / "s") as theirs:
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
                async with await listener.accept() as ours:
                    for size in (65_535, 65_536, 65_537, 200_000, 1_000_000):
                        record = os.urandom(size)
                        try:
                            theirs.send(record)
                        except OSError:
                            assert size > 200_000, "an unprivileged buffer takes this"
                            continue
                        assert await ours.receive() == record

    run(main())


def test_a_record_over_the_limit_is_the_peers_fault(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(f"seqpacket+unix://{tmp_path}/s", Messages, limits=Limits(message_bytes=1000)) as listener:
            with stranger(tmp_path / "s") as theirs:
                async with await listener.accept() as ours:
                    theirs.send(b"a" * 1000)
                    theirs.send(b"b" * 1001)
                    theirs.send(b"c")
                    assert await ours.receive() == b"a" * 1000
                    with pytest.raises(PeerViolation, match="1001 bytes"):
                        await asyncio.gather(ours.receive(), return_exceptions=False)
                        await ours.receive()

    run(main())


def test_descriptors_and_credentials_travel(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(f"seqpacket+unix://{tmp_path}/s", Messages) as listener:
            async with connect(str(listener.local), Messages) as ours, await listener.accept() as theirs:
                assert theirs.peer.credentials == (os.getpid(), os.getuid(), os.getgid())
                reading, writing = os.pipe()
                await ours.send_fds(b"a pipe", [writing])
                data, (copy,) = await theirs.receive_fds()
                assert data == b"a pipe"
                os.write(copy, b"through")
                assert os.read(reading, 10) == b"through"
                for fd in (copy, reading, writing):
                    os.close(fd)

    run(main())


def test_more_descriptors_than_allowed_are_closed(run: Run) -> None:
    async def main() -> None:
        async with (
            listen("mem://many", Messages) as listener,
            connect("mem://many", Messages) as ours,
            await listener.accept() as theirs,
        ):
            await ours.send_fds(b"x", [0, 0, 0])
            with pytest.raises(PeerViolation, match="more descriptors than the 2"):
                await theirs.receive_fds(max_fds=2)

    run(main())


def test_descriptors_that_nobody_asked_for_are_closed(run: Run) -> None:
    async def main() -> None:
        async with (
            listen("mem://uncalled", Messages) as listener,
            connect("mem://uncalled", Messages) as ours,
            await listener.accept() as theirs,
        ):
            before = set(os.listdir("/proc/self/fd"))
            await ours.send_fds(b"x", [0, 0])
            assert await theirs.receive() == b"x"
            assert set(os.listdir("/proc/self/fd")) == before

    run(main())


def test_only_unix_carries_descriptors(run: Run) -> None:
    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as server, connect(str(server.local), Messages) as ours:
            with pytest.raises(ValueError, match="Unix sockets only"):
                await ours.send_fds(b"x", [0])
            with pytest.raises(ValueError, match="Unix sockets only"):
                await ours.receive_fds()

    run(main())


def test_a_server_of_messages(run: Run) -> None:
    async def echo(messages: Messages) -> None:
        async for message in messages:
            await messages.send(message)

    async def main() -> None:
        async with serve("mem://echo", echo, Messages) as server:
            async with connect(str(server.local), Messages) as ours:
                await ours.send_many([b"a", b"", b"c"])
                got: list[bytes] = []
                while len(got) < 3:
                    got += await ours.receive_many()
                assert got == [b"a", b"", b"c"]
            assert server.stats["accepted"] == 1

    run(main())


def test_a_name_in_memory_has_one_shape(run: Run) -> None:
    async def main() -> None:
        async with listen("mem://streams"), listen("mem://messages", Messages):
            with pytest.raises(ConnectError, match=r'write connect\("mem://streams"\)'):
                await connect("mem://streams", Messages)
            with pytest.raises(ConnectError, match=r'write connect\("mem://messages", Messages\)'):
                await connect("mem://messages")

    run(main())


def test_who_says_nothing_is_cut(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        limits = Limits(first_message_seconds=0.3)
        async with listen(f"seqpacket+unix://{tmp_path}/s", Messages, limits=limits) as listener:
            with stranger(tmp_path / "s") as theirs:
                async with await listener.accept() as ours:
                    with pytest.raises(BrokenConnection, match="first_message_seconds"):
                        await asyncio.wait_for(ours.receive(), 10)
                assert theirs.recv(1) == b""
            assert listener.stats["first_message"] == 1

    run(main())


def test_a_silent_one_makes_room(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        limits = Limits(unproven_connections=1)
        async with listen(f"seqpacket+unix://{tmp_path}/s", Messages, limits=limits) as listener:
            with stranger(tmp_path / "s") as silent, stranger(tmp_path / "s") as other:
                async with await listener.accept() as first, await listener.accept() as second:
                    assert first.closed
                    assert silent.recv(1) == b""
                    other.send(b"hello")
                    assert await second.receive() == b"hello"
            assert listener.stats["evicted"] == 1
            assert listener.connections == 0

    run(main())


def test_nobody_there(run: Run) -> None:
    async def main() -> None:
        async with bind("udp4://127.0.0.1:0") as gone:
            address = str(gone.local)
        async with connect(address, Messages) as ours:
            await ours.send(b"anybody?")
            with pytest.raises(UnreachablePeer, match=r"nobody listens on that port, says 127\.0\.0\.1") as raised:
                await ours.receive()
            assert str(raised.value.endpoint) == address
            assert raised.value.transient
            # The socket lives on, and so may its peer.
            async with bind(address) as back:
                await ours.send(b"now?")
                assert (await back.receive()).data == b"now?"

    run(main())


def test_what_a_connection_knows_of_itself(run: Run) -> None:
    async def main() -> None:
        async with bind("udp4://127.0.0.1:0") as server, connect(str(server.local), Messages) as ours:
            assert ours.peer.endpoint == server.local
            assert ours.max_message_bytes == 65_507
            assert (ours.path_mtu_bytes or 0) >= 1500
            assert not ours.encrypted
            assert ours.alpn is ours.ciphers is None
            assert repr(ours) == f"<Messages {ours.local} to {server.local}, open>"
            with pytest.raises(Unsupported, match="knows no end"):
                await ours.send_eof()
            with pytest.raises(MessageTooLarge, match="65507 is the most") as raised:
                await ours.send(bytes(65_508))
            assert raised.value.most_bytes == 65_507
        assert repr(ours).endswith("closed>")
        assert ours.path_mtu_bytes is None

    run(main())


def test_handed_over(run: Run) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            async with connect(f"fd://{ours.detach()}", Messages) as messages:
                theirs.send(b"record")
                assert await messages.receive() == b"record"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectError, match="connected to nobody"):
                await connect(f"fd://{datagrams.fileno()}", Messages)
            async with bind(f"fd://{os.dup(datagrams.fileno())}") as bound:
                async with connect(str(bound.local), Messages) as caller:
                    await caller.send(b"x")
                    assert (await bound.receive()).data == b"x"

    run(main())


def test_blocking() -> None:
    with (
        sync.listen("mem://blocking", sync.Messages) as listener,
        sync.connect("mem://blocking", Messages) as ours,
        listener.accept() as theirs,
    ):
        assert isinstance(theirs, sync.Messages)
        ours.send_many([b"a", b"b"])
        assert theirs.receive_many() == [b"a", b"b"]
        ours.send_eof()
        assert list(theirs) == []
