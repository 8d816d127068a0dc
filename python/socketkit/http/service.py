"""`serve(url, app)` and `Service`: an ASGI application behind a listener, from its startup to its last answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from ..connection import Stream
from ..endpoint import Endpoint
from ..limits import Limits
from ..opening import is_tls
from ..serving import Server
from .conversation import converse
from .extra import has_http2
from .lifespan import Lifespan
from .prepared import TELL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType
    from typing import Self

    from ..identity import Identity
    from .access import Access
    from .asgi import Application
    from .prepared import Prepared

    Handler = Callable[[Stream], Coroutine[Any, Any, None]]


def serve(
    url: str | Endpoint,
    app: Application,
    *,
    limits: Limits | None = None,
    identity: Identity | None = None,
    body_bytes: int = 16_777_216,
    prepared: Prepared | None = None,
    access: Callable[[Access], None] | None = None,
    around: Callable[[Handler], Handler] | None = None,
) -> Service:
    """Serve the ASGI application `app` at `url`: `async with` for the block, `await` until cancelled.

    `tcp://` speaks HTTP/1.1 in plain text, `tls://` is HTTPS; `unix://`, `mem://` and `fd://` carry it as well. Who may
    call from where is `listen`'s to say, and so are `identity` and `limits` (default: `HTTP_LIMITS`, which lets a kept
    connection be silent for 30 seconds). A request's body has at most `body_bytes`. What `prepared` has is
    answered over HTTP/1.1 before the application hears of it. `access` is called with an `Access` behind every
    answer; `around` wraps what serves a connection, to list those who are connected. Raises what `listen` does, and
    StartupFailed when the application says so.
    """
    bounds = limits or HTTP_LIMITS
    return Service(offering(Endpoint.parse(url)), app, bounds, identity, body_bytes, prepared, access, around)


def offering(endpoint: Endpoint) -> Endpoint:
    """The address with the protocols that TLS offers, if it does not say: h2 first, where its library is there."""
    if not is_tls(endpoint) or "alpn" in endpoint.query:
        return endpoint
    protocols = "h2,http/1.1" if has_http2() else "http/1.1"
    return endpoint.replace(query={**endpoint.query, "alpn": protocols})


class Service:
    """A running application. Made by `serve`.

    At the end: no new connections; those that are silent are closed at once, running answers get up to
    `Limits.grace_seconds`, and are told to be the last of their connections; then the application is shut down.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        app: Application,
        limits: Limits,
        identity: Identity | None,
        body_bytes: int,
        prepared: Prepared | None,
        access: Callable[[Access], None] | None,
        around: Callable[[Handler], Handler] | None = None,
    ) -> None:
        self._app = app
        self._limits = limits
        self._body_bytes = body_bytes
        self._access = access
        self._prepared = prepared
        self._telling: asyncio.Task[None] | None = None
        self._endpoint = endpoint
        handle = self._handle if around is None else around(self._handle)
        self._server = Server(endpoint, handle, limits, identity)
        self._lifespan = Lifespan(app)
        self._state: dict[str, Any] | None = None
        self._conversing: set[Stoppable] = set()
        self._stopping = False

    @property
    def local(self) -> Endpoint:
        """Where it listens."""
        return self._server.local

    @property
    def encrypted(self) -> bool:
        """Whether clients write https."""
        return is_tls(self._endpoint)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return self._server.connections

    @property
    def stats(self) -> dict[str, Any]:
        """The listener's counters (see `Listener.stats`)."""
        return self._server.stats

    async def aclose(self) -> None:
        """End as at the end of the block. Idempotent."""
        self._stop()
        try:
            await self._server.aclose()
        finally:
            await self._end()

    async def __aenter__(self) -> Self:
        await self._lifespan.start()
        self._state = self._lifespan.state or None
        try:
            await self._server.__aenter__()
        except BaseException:
            await self._lifespan.stop(self._limits.grace_seconds)
            raise
        if self._prepared is not None and self._access is not None:
            self._telling = asyncio.create_task(self._tell_prepared(self._prepared, self._access))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()
        try:
            await self._server.__aexit__(kind, exception, traceback)
        finally:
            await self._end()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._serve().__await__()

    async def _serve(self) -> None:
        await self.__aenter__()
        accepting = self._server._accepting
        assert accepting is not None
        try:
            await asyncio.wait([accepting])
        finally:
            await self.aclose()
        if not accepting.cancelled():
            accepting.result()

    async def _tell_prepared(self, prepared: Prepared, access: Callable[[Access], None]) -> None:
        try:
            while True:
                await asyncio.sleep(TELL_SECONDS)
                prepared._tell(access)
        finally:
            prepared._tell(access)

    async def _end(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])
            self._telling = None
        await self._lifespan.stop(self._limits.grace_seconds)

    def _stop(self) -> None:
        self._stopping = True
        for conversation in list(self._conversing):
            conversation._stop_requests()

    async def _handle(self, stream: Stream) -> None:
        if stream.alpn == "h2":
            from .multiplexed import converse_multiplexed

            await converse_multiplexed(self, stream)
        else:
            await converse(self, stream)


class Stoppable(Protocol):
    """What speaks HTTP on a connection."""

    def _stop_requests(self) -> None:
        """The service ends: whoever is silent is told so, and nobody begins anything new."""


# As `Limits()`, with the silence between two requests that browsers are used to.
HTTP_LIMITS = Limits(idle_seconds=30.0)
