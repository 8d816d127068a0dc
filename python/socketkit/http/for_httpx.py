"""httpx over our connections (transport.py).

    async with httpx.AsyncClient(transport=socketkit.http.httpx_transport()) as client: ...

Of httpx's own settings `verify` and `cert` mean nothing here: `trust` and `identity` say it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from ..limits import Limits
from .transport import NetworkBackend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from typing import Self

    from ..identity import Identity
    from ..trust import Trust


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
    backend = NetworkBackend(trust=trust, identity=identity, limits=limits, plaintext=plaintext, http2=http2)
    pool = httpcore.AsyncConnectionPool(
        max_connections=connections,
        max_keepalive_connections=min(connections, 20),
        keepalive_expiry=15.0,
        http1=True,
        http2=http2,
        retries=retries,
        network_backend=backend,
    )
    return Transport(pool)


class Transport(httpx.AsyncBaseTransport):
    """Requests of httpx, answered by a pool of httpcore."""

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = await self._pool.handle_async_request(_as_httpcore(request))
        except Exception as failure:
            raise as_httpx(failure) from failure
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, which may break as the answer may."""

    def __init__(self, body: Any) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._body:
                yield chunk
        except Exception as failure:
            raise as_httpx(failure) from failure

    async def aclose(self) -> None:
        await self._body.aclose()


def _as_httpcore(request: httpx.Request) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def as_httpx(failure: Exception) -> Exception:
    """httpcore's error as httpx's: they have the same names."""
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
