"""httpx and httpcore over our connections: trust, pins, limits and refusals are `connect`'s.

    async with httpx.AsyncClient(transport=socketkit.http.httpx_transport()) as client: ...

A connection is opened when it is known what is wanted: `tls://` when TLS begins, `tcp://` when plain text is written.
So plain text to other machines is refused as everywhere, unless `plaintext` allows it. Of httpx's own settings `verify`
and `cert` mean nothing here: `trust` and `identity` say it.
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
    from collections.abc import AsyncIterator, Iterable
    from ssl import SSLContext
    from types import TracebackType
    from typing import Self

    import httpx

    from ..connection import Stream
    from ..identity import Identity
    from ..trust import Trust


class NetworkBackend(httpcore.AsyncNetworkBackend):
    """For `httpcore.AsyncConnectionPool(network_backend=...)`. Errors are httpcore's, with ours as their cause."""

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


def httpx_transport(
    *,
    trust: Trust | None = None,
    identity: Identity | None = None,
    limits: Limits = Limits(),
    plaintext: bool = False,
    http2: bool = False,
    connections: int = 100,
    retries: int = 0,
) -> httpx.AsyncBaseTransport:
    """A transport for `httpx.AsyncClient(transport=...)`.

    `trust`, `identity` and `limits` are `connect`'s; `plaintext` allows http beyond this machine; `http2` offers HTTP/2
    as well (its package h2 must be there). At most so many `connections` are open, and so many `retries` made of a
    connection that could not be opened.
    """
    import httpx

    pool = httpcore.AsyncConnectionPool(
        max_connections=connections,
        max_keepalive_connections=min(connections, 20),
        keepalive_expiry=15.0,
        http1=True,
        http2=http2,
        retries=retries,
        network_backend=NetworkBackend(trust=trust, identity=identity, limits=limits, plaintext=plaintext, http2=http2),
    )

    class Body(httpx.AsyncByteStream):
        def __init__(self, body: Any) -> None:
            self._body = body

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._body:
                    yield chunk
            except Exception as failure:
                raise _as_httpx(failure) from failure

        async def aclose(self) -> None:
            await self._body.aclose()

    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked = httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
            try:
                answer = await pool.handle_async_request(asked)
            except Exception as failure:
                raise _as_httpx(failure) from failure
            return httpx.Response(
                answer.status, headers=answer.headers, stream=Body(answer.stream), extensions=answer.extensions
            )

        async def __aenter__(self) -> Self:
            await pool.__aenter__()
            return self

        async def __aexit__(
            self,
            exc_type: type[BaseException] | None = None,
            exc_value: BaseException | None = None,
            traceback: TracebackType | None = None,
        ) -> None:
            await self.aclose()

        async def aclose(self) -> None:
            await pool.aclose()

    return Transport()


def _as_httpx(failure: Exception) -> Exception:
    """httpcore's error as httpx's: they have the same names."""
    import httpx

    told = (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.TimeoutException,
        httpcore.UnsupportedProtocol,
    )
    if not isinstance(failure, told):
        return failure
    kind: type[httpx.TransportError] = getattr(httpx, type(failure).__name__)
    return kind(str(failure))


def _is_readable(stream: Stream) -> bool:
    """Whether an idle connection has news, which can only be its end."""
    if stream.closed:
        return True
    polled = select.poll()
    polled.register(stream.fileno(), select.POLLIN)
    return bool(polled.poll(0))
