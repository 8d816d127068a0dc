"""Hijacking of streams: nobody between the two ends can end one, or put a byte into it, unnoticed."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Self

import pytest

from socketkit import BrokenConnection, EndOfStream, Identity, PeerViolation, Stream, connect, serve
from tests.conftest import Run

FORGED = b"forged\n"


class Interferer:
    """Stands between a client and the server at `port`, passes all bytes on, and then does its worst to both."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._passing: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._passing:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._writers = [writer, other_writer]
        self._passing = [
            asyncio.create_task(self._pass(reader, other_writer)),
            asyncio.create_task(self._pass(other_reader, writer)),
        ]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65_536):
                writer.write(chunk)
            writer.write_eof()

    def end(self) -> None:
        """A FIN, as if the peer had nothing more to say: the end of TLS is missing before it."""
        for task in self._passing:
            task.cancel()
        for writer in self._writers:
            writer.write_eof()

    def reset(self) -> None:
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            writer.transport.abort()

    def forge_a_line(self) -> None:
        for writer in self._writers:
            writer.write(FORGED)

    def forge_a_record(self) -> None:
        for writer in self._writers:
            writer.write(b"\x17\x03\x03" + (len(FORGED) + 17).to_bytes(2, "big") + FORGED + bytes(17))

    def forge_an_end(self) -> None:
        """close_notify in the clear."""
        for writer in self._writers:
            writer.write(b"\x15\x03\x03\x00\x02\x01\x00")
        self.end()


@pytest.mark.parametrize("interference", ["end", "reset", "forge_a_line", "forge_a_record", "forge_an_end"])
def test_interference_is_an_error_at_both_ends(run: Run, interference: str) -> None:
    """Neither an end nor a byte of it is delivered."""
    said, ended = converse(run, interference)
    assert said == [b"hello\n"]
    assert all(isinstance(failure, (BrokenConnection, PeerViolation)) for failure in ended), ended


def test_without_interference_the_end_is_an_end(run: Run) -> None:
    said, ended = converse(run, None)
    assert said == [b"hello\n"]
    assert all(isinstance(failure, EndOfStream) for failure in ended), ended


def converse(run: Run, interference: str | None) -> tuple[list[bytes], list[BaseException]]:
    """What the server was told, and how the stream ended at the client and at the server."""
    said: list[bytes] = []

    async def main() -> list[BaseException]:
        served: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

        async def echo(stream: Stream) -> None:
            try:
                while True:
                    said.append(await stream.receive_until(b"\n"))
                    await stream.send(said[-1])
            except (EndOfStream, OSError, PeerViolation) as failure:
                served.set_result(failure)

        identity = Identity.new()
        async with (
            serve("tls://127.0.0.1:0?public=yes", echo, identity=identity) as server,
            Interferer(server.local.port or 0) as interferer,
            connect(f"tls://127.0.0.1:{interferer.port}?pin={identity.fingerprint}") as stream,
        ):
            await stream.send(b"hello\n")
            assert await stream.receive_until(b"\n") == b"hello\n"
            if interference:
                getattr(interferer, interference)()
            else:
                await stream.send_eof()
            try:
                received = await stream.receive()
            except (EndOfStream, OSError, PeerViolation) as failure:
                return [failure, await served]
            raise AssertionError(f"received {received!r}")

    return said, run(main())
