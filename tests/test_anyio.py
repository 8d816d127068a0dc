"""Streams among libraries written for anyio: types, exceptions, cancel scopes, and httpcore unmodified on top."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import anyio
import anyio.abc
import anyio.streams.buffered
import anyio.streams.text
import httpcore
import pytest
import sniffio
from httpcore._backends.anyio import AnyIOStream

from socketkit import (
    BrokenConnection,
    BusyConnection,
    ClosedConnection,
    ConnectError,
    EndOfStream,
    Stream,
    connect,
    listen,
)
from socketkit.testing import stream_pair
from socketkit.testing.claims import numbered, started, turns
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_stream_is_a_byte_stream(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, _):
            for kind in (anyio.abc.ByteStream, anyio.abc.ByteReceiveStream, anyio.abc.ByteSendStream):
                assert isinstance(ours, kind)
            assert issubclass(Stream, anyio.abc.ByteStream)

    run(main())


def test_exceptions_are_anyios_too(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            waiting = await started(theirs.receive())
            await turns(2)
            with pytest.raises(anyio.BusyResourceError) as busy:
                await theirs.receive()
            assert isinstance(busy.value, BusyConnection)
            await ours.send_eof()
            with pytest.raises(anyio.EndOfStream) as end:
                await waiting
            assert isinstance(end.value, EndOfStream)
            with pytest.raises(anyio.ClosedResourceError) as closed:
                await ours.send(b"x")
            assert isinstance(closed.value, ClosedConnection)
            await theirs.send(b"unread")
            theirs.abort()
            with pytest.raises(anyio.BrokenResourceError) as broken:
                await ours.receive_exactly(100)
            assert isinstance(broken.value, BrokenConnection)

    run(main())


def test_typed_attributes(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            host, port = ours.extra(anyio.abc.SocketAttribute.remote_address)
            assert (host, port) == theirs.extra(anyio.abc.SocketAttribute.local_address)
            assert port == ours.extra(anyio.abc.SocketAttribute.remote_port)
            assert ours.extra(anyio.abc.SocketAttribute.local_port) == ours.local.port
            assert ours.extra(anyio.abc.SocketAttribute.family) == socket.AF_INET
            assert ours.extra(object(), "default") == "default"
            with pytest.raises(anyio.TypedAttributeLookupError):
                ours.extra(object())

    run(main())


def test_the_raw_socket_is_only_lent(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, theirs):
            for _ in range(3):
                lent = ours.extra(anyio.abc.SocketAttribute.raw_socket)
                assert lent.fileno() == ours.fileno()
                assert lent.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
                lent.close()
                ours.extra(anyio.abc.SocketAttribute.raw_socket)
                gc.collect()
            await ours.send(b"still open")
            assert await theirs.receive() == b"still open"
            assert anyio.abc.SocketAttribute.local_port not in ours.extra_attributes
            await ours.aclose()
            with pytest.raises(ClosedConnection):
                ours.extra(anyio.abc.SocketAttribute.raw_socket)

    run(main())


def test_anyios_buffers_read_from_it(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, theirs):
            buffered = anyio.streams.buffered.BufferedByteReceiveStream(theirs)
            await ours.send(b"line one\r\nexactly")
            assert await buffered.receive_until(b"\r\n", 100) == b"line one"
            assert await buffered.receive_exactly(7) == b"exactly"
            await ours.send(item=b"by name")
            assert await theirs.receive(max_bytes=100) == b"by name"
            with pytest.raises(TypeError, match="needs the bytes"):
                ours.send()
            text = anyio.streams.text.TextStream(ours)
            await text.send("grüße")
            assert (await theirs.receive()).decode() == "grüße"
            await theirs.send("zurück".encode())
            assert await text.receive() == "zurück"
            await ours.aclose()
            with pytest.raises(anyio.IncompleteRead):
                await buffered.receive_exactly(1)

    run(main())


def test_anyios_cancel_scopes_lose_nothing(run: Run) -> None:
    async def main() -> None:
        assert sniffio.current_async_library() == "asyncio"
        async with stream_pair() as (ours, theirs):
            with anyio.move_on_after(0.01) as scope:
                await theirs.receive()
            assert scope.cancelled_caught
            with anyio.CancelScope() as scope:
                scope.cancel()
                await theirs.receive()
            assert scope.cancelled_caught
            with pytest.raises(TimeoutError):
                with anyio.fail_after(0):
                    await theirs.receive()
            got = b""
            for number in range(300):
                data = numbered(1, number)
                with anyio.CancelScope() as scope:
                    asyncio.get_running_loop().call_soon(scope.cancel)
                    if number % 2:
                        await ours.send(data)
                    got = await theirs.receive()
                if scope.cancelled_caught:
                    if not number % 2:
                        await ours.send(data)
                    got = await theirs.receive()
                assert got == data
                await turns(number % 3)

    run(main())


def test_anyios_task_groups(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, theirs):

            async def echo() -> None:
                async for chunk in theirs:
                    await theirs.send(chunk)

            async with anyio.create_task_group() as group:
                group.start_soon(echo)
                await ours.send(b"through a group")
                assert await ours.receive() == b"through a group"
                group.start_soon(ours.send, b"bare")
                assert await ours.receive() == b"bare"
                group.start_soon(ours.receive)
                await turns(3)
                group.cancel_scope.cancel()
            await theirs.send(b"still here")
            assert await ours.receive() == b"still here"

    run(main())


def test_a_shielded_close_is_finished(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, theirs):
            with anyio.CancelScope() as scope:
                scope.cancel()
                try:
                    await ours.receive()
                finally:
                    with anyio.CancelScope(shield=True):
                        await ours.send(b"goodbye")
                        await ours.aclose()
            assert b"".join([chunk async for chunk in theirs]) == b"goodbye"

    run(main())


def test_anyios_closing_helper(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, theirs):
            await anyio.aclose_forcefully(ours)
            assert ours.closed
            with pytest.raises(anyio.EndOfStream):
                await theirs.receive()

    run(main())


# --- httpcore, as it is


class Backend(httpcore.AsyncNetworkBackend):
    """Opens connections with socketkit; httpcore's own class for anyio streams does the rest."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with anyio.fail_after(timeout):
                return AnyIOStream(await connect(f"tcp://{host}:{port}"))  # type: ignore[arg-type]
        except ConnectError as failure:
            raise httpcore.ConnectError(str(failure)) from failure

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"x" * int(self.path.rpartition("/")[2]))

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"]))[::-1])

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def http_server() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket.settimeout(10)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_httpcore_runs_over_it(run: Run, http_server: str) -> None:
    async def main() -> None:
        async with httpcore.AsyncConnectionPool(network_backend=Backend()) as pool:
            for size in (0, 1, 1000, 3_000_000):
                response = await pool.request("GET", f"{http_server}/{size}")
                assert (response.status, len(response.content)) == (200, size)
            response = await pool.request("POST", http_server, content=numbered(100_000))
            assert response.content == numbered(100_000)[::-1]
            assert len(pool.connections) == 1, "the connection was kept and used again"
            async with pool.stream("GET", f"{http_server}/2000000") as response:
                assert sum([len(part) async for part in response.aiter_stream()]) == 2_000_000

    run(main())


def test_httpcores_errors_are_its_own(run: Run) -> None:
    async def main() -> None:
        async with listen("tcp://127.0.0.1:0") as listener:
            url = f"http://127.0.0.1:{listener.local.port}/"
            async with httpcore.AsyncConnectionPool(network_backend=Backend()) as pool:

                async def cut() -> None:
                    stream = await listener.accept()
                    await stream.receive()
                    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
                    await stream.send(b"")
                    stream.abort()

                cutting = await started(cut())
                with pytest.raises((httpcore.ReadError, httpcore.RemoteProtocolError)):
                    await pool.request("GET", url)
                await cutting
                with pytest.raises(httpcore.ReadTimeout):
                    await pool.request("GET", url, extensions={"timeout": {"read": 0.05}})
        async with httpcore.AsyncConnectionPool(network_backend=Backend()) as pool:
            with pytest.raises(httpcore.ConnectError, match="refused"):
                await pool.request("GET", url)

    run(main())
