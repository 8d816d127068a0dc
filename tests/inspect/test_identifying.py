"""What listens behind open ports of loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from socketkit import _core
from socketkit.inspect import identifying
from socketkit.inspect.identifying import Identity, identify
from socketkit.inspect.service_probes import Service
from tests.conftest import Run

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def identified(serve: Serve, context: ssl.SSLContext | None = None) -> Identity:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(served, "127.0.0.1", 0, ssl=context) as server:
        return await identify("localhost", "127.0.0.1", server.sockets[0].getsockname()[1])


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nServer: example/1\r\n\r\n")
    await writer.drain()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.fixture
def server(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A TLS server's context, and its fingerprint."""
    pem = _core.make_identity(["localhost"])
    file = tmp_path / "identity"
    file.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, _core.certificate_fingerprint(pem)


def test_http(run: Run) -> None:
    assert run(identified(http)) == Identity(Service("http", "example/1"))


def test_tls_and_what_is_in_it(run: Run, server: tuple[ssl.SSLContext, str]) -> None:
    context, fingerprint = server
    found = run(identified(http, context))
    assert found.service == Service("http", "example/1")
    assert found.tls is not None
    assert (found.tls.version, found.tls.fingerprint, found.tls.names) == ("TLSv1.3", fingerprint, ("localhost",))
    assert found.tls.self_issued
    assert found.tls.expires is not None
    assert found.tls.expires.year == 4096


def test_old_tls_is_seen_too(run: Run, server: tuple[ssl.SSLContext, str]) -> None:
    context, _ = server
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    found = run(identified(http, context))
    assert found.tls is not None
    assert found.tls.version == "TLSv1.2"


@pytest.mark.slow
def test_silence_is_left(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GREETING_SECONDS", "ANSWER_SECONDS", "HANDSHAKE_SECONDS"):
        monkeypatch.setattr(identifying, name, 0.1)
    assert run(identified(silent)) == Identity(Service(""))


def test_flood_is_bounded(run: Run) -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"x" * 65_536)
            await writer.drain()

    assert len(run(identified(flood)).service.product) <= 120


def test_nobody_there(run: Run) -> None:
    async def main() -> Identity:
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
        return await identify("localhost", "127.0.0.1", port)

    assert run(main()) == Identity(Service(""))
