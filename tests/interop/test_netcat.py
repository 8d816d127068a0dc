"""Peers that we did not write: socat and nc, as servers and as clients."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from socketkit import ConnectError, EndOfStream, Limits, Stream, connect, listen, serve
from socketkit.testing.claims import all_of, numbered, started
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")

Program = Callable[[str], str]

DATA = numbered(250_000)


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program for the block; it is killed if it has not ended by then."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def soon(address: str) -> Stream:
    """A connection to a program that is still starting."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await connect(address)
            except ConnectError:
                await asyncio.sleep(0.005)


def addresses(kind: str, folder: Path) -> tuple[str, str, str]:
    """(ours, socat's to listen on, socat's to connect to)"""
    if kind == "unix":
        path = f"{folder}/socket"
        return f"unix://{path}", f"UNIX-LISTEN:{path}", f"UNIX-CONNECT:{path}"
    if kind == "abstract":
        name = f"socketkit-test-{os.getpid()}"
        return f"unix://@{name}", f"ABSTRACT-LISTEN:{name}", f"ABSTRACT-CONNECT:{name}"
    host = "127.0.0.1" if kind == "tcp4" else "[::1]"
    family = socket.AF_INET if kind == "tcp4" else socket.AF_INET6
    with socket.create_server((host.strip("[]"), 0), family=family) as probe:
        port = probe.getsockname()[1]
    version = kind[-1]
    return (
        f"tcp://{host}:{port}",
        f"TCP{version}-LISTEN:{port},bind={host},reuseaddr",
        f"TCP{version}:{host}:{port}",
    )


KINDS = ["tcp4", "tcp6", "unix", "abstract"]


@pytest.mark.parametrize("kind", KINDS)
def test_socat_serves_us(run: Run, program: Program, kind: str, tmp_path: Path) -> None:
    ours, theirs, _ = addresses(kind, tmp_path)

    async def main() -> None:
        async with running(program("socat"), theirs, "EXEC:cat"):
            stream = await soon(ours)
            sending = await started(_send_and_end(stream, DATA))
            assert await all_of(stream) == DATA
            await sending
            await stream.aclose()

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_we_serve_socat(run: Run, program: Program, kind: str, tmp_path: Path) -> None:
    ours, _, theirs = addresses(kind, tmp_path)

    async def echo(stream: Stream) -> None:
        async for chunk in stream:
            await stream.send(chunk)

    async def main() -> None:
        async with serve(ours, echo), running(program("socat"), "-t", "5", "STDIO", theirs) as process:
            out, _ = await process.communicate(DATA)
            assert out == DATA
            assert process.returncode == 0

    run(main())


@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_nc_serves_us(run: Run, program: Program, kind: str, tmp_path: Path) -> None:
    """nc sends its stdin, we end, and it goes on until its stdin ends: half-close both ways."""
    ours, _, _ = addresses(kind, tmp_path)
    where = ["-l", "-U", f"{tmp_path}/socket"] if kind == "unix" else ["-l", "127.0.0.1", ours.rpartition(":")[2]]

    async def main() -> None:
        async with running(program("nc"), "-N", *where) as process:
            stream = await soon(ours)
            await stream.send(b"from us")
            assert process.stdin is not None
            assert process.stdout is not None
            assert await process.stdout.readexactly(7) == b"from us"
            process.stdin.write(DATA)
            process.stdin.close()
            assert await all_of(stream) == DATA
            await stream.aclose()
            assert await process.wait() == 0

    run(main())


@pytest.mark.parametrize("kind", ["tcp4", "tcp6", "unix"])
def test_we_serve_nc(run: Run, program: Program, kind: str, tmp_path: Path) -> None:
    ours, _, _ = addresses(kind, tmp_path)
    port = ours.rpartition(":")[2]
    where = {"tcp4": ["127.0.0.1", port], "tcp6": ["::1", port], "unix": ["-U", f"{tmp_path}/socket"]}[kind]

    async def main() -> None:
        async with listen(ours) as listener, running(program("nc"), "-N", *where) as process:
            stream = await listener.accept()
            talking = await started(process.communicate(b"from nc"))
            assert await all_of(stream) == b"from nc"
            await stream.send(DATA)
            await stream.aclose()
            out, _ = await talking
            assert out == DATA

    run(main())


def test_socat_resets(run: Run, program: Program, tmp_path: Path) -> None:
    """Closed with linger 0 it sends a reset: what it sent before still arrives, and then it is no end."""
    ours, _, theirs = addresses("tcp4", tmp_path)

    async def main() -> None:
        async with listen(ours) as listener, running(program("socat"), "STDIO", f"{theirs},so-linger=0") as process:
            stream = await listener.accept()
            assert process.stdin is not None
            process.stdin.write(b"before")
            await process.stdin.drain()
            assert await stream.receive_exactly(6) == b"before"
            process.kill()
            with pytest.raises(OSError, match="reset by the peer"):
                await stream.receive()
            stream.abort()

    run(main())


def test_a_program_that_stops_reading_is_waited_for_and_given_up(run: Run, program: Program, tmp_path: Path) -> None:
    ours, _, theirs = addresses("unix", tmp_path)

    async def main() -> None:
        limits = Limits(close_seconds=0.1)
        async with listen(ours, limits=limits) as listener, running(program("socat"), theirs, "STDIO") as process:
            stream = await listener.accept()
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    while True:
                        await stream.send(bytes(100_000))
            await stream.aclose()

    run(main())


def test_a_killed_program_is_an_end_or_a_reset(run: Run, program: Program, tmp_path: Path) -> None:
    ours, _, theirs = addresses("unix", tmp_path)

    async def main() -> None:
        async with listen(ours) as listener, running(program("socat"), "STDIO", theirs) as process:
            stream = await listener.accept()
            receiving = await started(stream.receive())
            process.kill()
            with pytest.raises((EndOfStream, OSError)):
                await receiving
            await stream.aclose()

    run(main())


async def _send_and_end(stream: Stream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()
