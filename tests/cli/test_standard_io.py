"""Standard input and output that are pipes, files, terminals, sockets; nothing changes for those who share them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import socket
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from socketkit.cli.standard_io import CHUNK_BYTES, StandardInput, StandardOutput

Ends = tuple[int, int]


def pipe(folder: Path) -> Ends:
    return os.pipe()


def terminal(folder: Path) -> Ends:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    return theirs, ours


def unix_socket(folder: Path) -> Ends:
    a, b = socket.socketpair()
    return a.detach(), b.detach()


@pytest.fixture(params=[pipe, terminal, unix_socket], ids=lambda make: make.__name__)
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ends]:
    """(what is read, what is written)"""
    read, write = request.param(tmp_path)
    yield read, write
    for fd in (read, write):
        with suppress(OSError):
            os.close(fd)


def test_input_comes_as_it_is_written(ends: Ends) -> None:
    read, write = ends

    async def main() -> None:
        source = StandardInput(read)
        for data in (b"one", b"two"):
            waiting = asyncio.create_task(source.receive())
            await asyncio.sleep(0)
            assert source.silent_seconds >= 0
            os.write(write, data)
            assert await waiting == data
            assert source.silent_seconds == 0

    asyncio.run(asyncio.wait_for(main(), 10))


def test_cancelled_receive_loses_nothing(ends: Ends) -> None:
    read, write = ends

    async def main() -> None:
        source = StandardInput(read)
        for _ in range(3):
            waiting = asyncio.create_task(source.receive())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        os.write(write, b"here")
        assert await source.receive() == b"here"

    asyncio.run(asyncio.wait_for(main(), 10))


def test_output_waits_for_its_reader(tmp_path: Path) -> None:
    read, write = os.pipe()
    data = os.urandom(3 * CHUNK_BYTES)

    async def main() -> bytes:
        sink = StandardOutput(write)
        sending = asyncio.create_task(sink.send(data))
        await asyncio.sleep(0)
        assert not sending.done()
        received = b""
        while len(received) < len(data):
            received += await asyncio.to_thread(os.read, read, CHUNK_BYTES)
        await sending
        return received

    assert asyncio.run(asyncio.wait_for(main(), 10)) == data
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("make", [terminal, unix_socket])
def test_output_by_a_thread(make: Callable[[Path], Ends], tmp_path: Path) -> None:
    read, write = make(tmp_path)
    asyncio.run(asyncio.wait_for(StandardOutput(write).send(b"words"), 10))
    assert os.read(read, 100) == b"words"
    os.close(read)
    os.close(write)


def test_flags_of_a_shared_pipe_stay() -> None:
    with ExitStack() as stack:
        read, write = os.pipe()
        stack.callback(os.close, read)
        stack.callback(os.close, write)

        async def main() -> None:
            await StandardOutput(write).send(b"x")
            await StandardInput(read).receive()

        asyncio.run(asyncio.wait_for(main(), 10))
        assert not (fcntl.fcntl(read, fcntl.F_GETFL) | fcntl.fcntl(write, fcntl.F_GETFL)) & os.O_NONBLOCK


def test_end_of_a_pipe_stays_the_end() -> None:
    read, write = os.pipe()
    os.write(write, b"last")
    os.close(write)

    async def main() -> None:
        source = StandardInput(read)
        assert [await source.receive() for _ in range(3)] == [b"last", b"", b""]
        assert source.ended

    asyncio.run(main())
    os.close(read)


def test_file(tmp_path: Path) -> None:
    data = os.urandom(5 * CHUNK_BYTES + 1)
    (tmp_path / "a").write_bytes(data)

    async def main(a: int, b: int) -> None:
        source, sink = StandardInput(a), StandardOutput(b)
        while chunk := await source.receive():
            await sink.send(chunk)

    with (tmp_path / "a").open("rb") as a, (tmp_path / "b").open("wb") as b:
        asyncio.run(main(a.fileno(), b.fileno()))
    assert (tmp_path / "b").read_bytes() == data


def test_dev_null_needs_no_thread() -> None:
    async def main(fd: int) -> None:
        assert await StandardInput(fd).receive() == b""
        await StandardOutput(fd).send(b"x")

    with Path("/dev/null").open("r+b", buffering=0) as null:
        asyncio.run(main(null.fileno()))


def test_errors_name_the_descriptor(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="standard input"):
        asyncio.run(StandardInput(file.fileno()).receive())
    with Path("/dev/full").open("wb") as full, pytest.raises(OSError, match="standard output"):
        asyncio.run(StandardOutput(full.fileno()).send(b"x"))


def test_abandoned_pipe_is_noticed_while_nothing_is_written() -> None:
    read, write = os.pipe()

    async def main() -> None:
        waiting = asyncio.create_task(StandardOutput(write).abandoned())
        await asyncio.sleep(0)
        assert not waiting.done()
        os.close(read)
        await waiting

    with pytest.raises(BrokenPipeError):
        asyncio.run(asyncio.wait_for(main(), 10))
    os.close(write)


def test_file_is_never_abandoned(tmp_path: Path) -> None:
    async def main(fd: int) -> None:
        waiting = asyncio.create_task(StandardOutput(fd).abandoned())
        done, _ = await asyncio.wait([waiting], timeout=0.01)
        assert not done
        waiting.cancel()

    with (tmp_path / "file").open("wb") as file:
        asyncio.run(main(file.fileno()))
