"""httpcore over our connections: trust, pins, limits and refusals are `connect`'s.

    async with httpcore.AsyncConnectionPool(network_backend=NetworkBackend()) as pool: ...

A connection is opened when it is known what is wanted: `tls://` when TLS begins, `tcp://` when plain text is written.
So plain text to other machines is refused as everywhere, unless `plaintext` allows it.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Any

import httpcore

from ..endpoint import Endpoint
from ..errors import BrokenConnection, ClosedConnection, EndOfStream
from ..limits import Limits
from ..verbs import connect

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ssl import SSLContext

    from ..connection import Stream
    from ..identity import Identity
    from ..trust import Trust


class NetworkBackend(httpcore.AsyncNetworkBackend):
    """For `httpcore.AsyncConnectionPool`. Errors are httpcore's, with ours as their cause."""

    def __init__(
        self,
        *,
        trust: Trust | None = None,
        identity: Identity | None = None,
        limits: Limits = Limits(),
        plaintext: bool = False,
        http2: bool = False,
    ) -> None:
        self.trust = trust
        self.identity = identity
        self.limits = limits
        self.plaintext = plaintext
        self.alpn = "h2,http/1.1" if http2 else "http/1.1"

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if local_address is not None or socket_options:
            raise ValueError("local_address and socket_options are not taken: limits and addresses are socketkit's")
        return NetworkStream(self, Endpoint(scheme="tcp", host=host, port=port), timeout)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return NetworkStream(self, Endpoint(scheme="unix", path=path), timeout)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class NetworkStream(httpcore.AsyncNetworkStream):
    """A connection of ours as httpcore sees one; opened by the first thing that is done with it."""

    def __init__(self, backend: NetworkBackend, endpoint: Endpoint, connect_seconds: float | None) -> None:
        self._backend = backend
        self._endpoint = endpoint
        self._connect_seconds = connect_seconds
        self._stream: Stream | None = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        stream = await self._opened()
        try:
            async with asyncio.timeout(timeout):
                return await stream.receive(max_bytes)
        except EndOfStream:
            return b""
        except TimeoutError as late:
            raise httpcore.ReadTimeout(str(late)) from late
        except (BrokenConnection, ClosedConnection) as failure:
            raise httpcore.ReadError(str(failure)) from failure

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        stream = await self._opened()
        try:
            async with asyncio.timeout(timeout):
                await stream.send(buffer)
        except TimeoutError as late:
            raise httpcore.WriteTimeout(str(late)) from late
        except (BrokenConnection, ClosedConnection) as failure:
            raise httpcore.WriteError(str(failure)) from failure

    async def aclose(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """TLS by `trust` and `identity`; the context, which knows other rules, is not looked at."""
        backend = self._backend
        if self._stream is not None:  # through a proxy
            try:
                async with asyncio.timeout(timeout):
                    await self._stream.start_tls(
                        name=server_hostname,
                        alpn=backend.alpn.split(","),
                        trust=backend.trust,
                        identity=backend.identity,
                    )
            except TimeoutError as late:
                raise httpcore.ConnectTimeout(str(late)) from late
            except OSError as failure:
                raise httpcore.ConnectError(str(failure)) from failure
            return self
        query = {"alpn": backend.alpn}
        if server_hostname and server_hostname != self._endpoint.host:
            query["sni"] = server_hostname
        scheme = "tls+unix" if self._endpoint.scheme == "unix" else "tls"
        if scheme == "tls+unix":
            query.pop("sni", None)
        secured = self._endpoint.replace(scheme=scheme, query=query)
        self._stream = await self._connect(secured, trust=backend.trust, identity=backend.identity)
        return self

    def get_extra_info(self, info: str) -> Any:
        stream = self._stream
        if stream is None:
            return None
        if info == "ssl_object":
            return _Session(stream.alpn) if stream.encrypted and stream.alpn else None
        if info == "is_readable":
            return _is_readable(stream)
        if info in ("client_addr", "server_addr"):
            where = stream.local if info == "client_addr" else stream.peer.endpoint
            return (where.host, where.port)
        return stream if info == "stream" else None

    async def _opened(self) -> Stream:
        if self._stream is None:
            endpoint = self._endpoint
            if self._backend.plaintext and endpoint.scheme == "tcp":
                endpoint = endpoint.replace(query={"plaintext": "yes"})
            self._stream = await self._connect(endpoint)
        return self._stream

    async def _connect(self, endpoint: Endpoint, **given: Any) -> Stream:
        try:
            async with asyncio.timeout(self._connect_seconds):
                stream: Stream = await connect(endpoint, limits=self._backend.limits, **given)
                return stream
        except TimeoutError as late:
            raise httpcore.ConnectTimeout(f"connect {endpoint}: no answer in time") from late
        except OSError as failure:
            raise httpcore.ConnectError(str(failure)) from failure


class _Session:
    """As much of an `ssl.SSLObject` as httpcore asks for."""

    def __init__(self, alpn: str) -> None:
        self._alpn = alpn

    def selected_alpn_protocol(self) -> str:
        return self._alpn


def _is_readable(stream: Stream) -> bool:
    """Whether an idle connection has news, which can only be its end."""
    if stream.closed:
        return True
    polled = select.poll()
    polled.register(stream.fileno(), select.POLLIN)
    return bool(polled.poll(0))
