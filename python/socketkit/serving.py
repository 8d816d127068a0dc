"""`Server`: a listener and one task per connection, all of which end with the block that owns them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from . import _core
from .connection import Stream
from .drivers import LoopDriver
from .errors import BrokenConnection, ClosedConnection, EndOfStream, PeerViolation
from .listener import Listener
from .messages import FACES
from .opening import open_shaped_listener

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType
    from typing import Any, Self

    from .endpoint import Endpoint
    from .identity import Identity
    from .limits import Limits
    from .messages import Messages


class Server:
    """Serves connections with `handler(stream)`, each in a task of its own. Made by `serve`.

    `async with serve(...) as server` serves for the block, `await serve(...)` until it is cancelled. A handler that
    returns closes its connection; one that raises is logged with its peer, and its connection is reset: as an error,
    or without a traceback (level INFO) where the peer is to blame. At the end: no new connections, up to
    `Limits.grace_seconds` for the handlers to end by themselves, then they are cancelled and their connections reset.
    An exception in the block, or a second cancellation, skips the grace.
    """

    def __init__(
        self,
        address: str | Endpoint,
        handler: Callable[[Any], Coroutine[Any, Any, object]],
        limits: Limits,
        identity: Identity | None = None,
        shape: type[Stream | Messages] = Stream,
    ) -> None:
        self._address = address
        self._handler = handler
        self._limits = limits
        self._identity = identity
        self._shape = shape
        self._listener: Listener[Any] | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handling: dict[Any, asyncio.Task[Any]] = {}

    @property
    def local(self) -> Endpoint:
        """Where it listens; `connect(str(server.local))` reaches it."""
        return self._opened().local

    @property
    def connections(self) -> int:
        """How many are open now."""
        return self._opened().connections

    @property
    def stats(self) -> dict[str, Any]:
        """The listener's counters (see `Listener.stats`)."""
        return self._opened().stats

    async def aclose(self) -> None:
        """End as at the end of the block, grace included. Idempotent."""
        try:
            await self._stop_accepting()
            if self._handling:
                await asyncio.wait(self._handling.values(), timeout=self._limits.grace_seconds)
        finally:
            await self._cut()

    async def __aenter__(self) -> Self:
        if self._listener is not None:
            raise RuntimeError("a server is used once: call serve() again")
        self._listener = await open_shaped_listener(
            Listener, FACES, self._shape, self._address, LoopDriver.current(), self._limits, self._identity
        )
        self._create_task = asyncio.get_running_loop().create_task
        self._accepting = asyncio.create_task(self._accept())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self.aclose()
        else:
            await self._stop_accepting()
            await self._cut()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._serve().__await__()

    async def _serve(self) -> None:
        await self.__aenter__()
        accepting = self._accepting
        assert accepting is not None
        try:
            await asyncio.wait([accepting])
        finally:
            await self.aclose()
        # Cancelled: somebody called aclose(), which is no reason for the one who waits to look cancelled himself.
        if not accepting.cancelled():
            accepting.result()

    async def _accept(self) -> None:
        async for stream in self._opened():
            try:
                work = _core.direct(self._handler(stream), self._handled, stream)
            except Exception:
                _logger.exception("the handler of %s did not start; its connection is reset", stream.peer.endpoint)
                stream.abort()
            else:
                task = self._create_task(work)
                if not task.done():  # an eager one may be
                    self._handling[stream] = task

    def _handled(self, stream: Any, failure: BaseException | None) -> bool:
        """A handler has ended, and with it its connection. Says whether nobody else need hear of `failure`."""
        self._handling.pop(stream, None)
        if failure is None:
            if not stream._close_soon():
                self._handling[stream] = closing = self._create_task(stream.aclose())
                closing.add_done_callback(lambda _: self._handling.pop(stream, None))
            return True
        if isinstance(failure, (BrokenConnection, EndOfStream, PeerViolation)):
            self._opened()._blame(failure)
        elif isinstance(failure, Exception):
            _logger.error("the handler of %s failed; its connection is reset", stream.peer.endpoint, exc_info=failure)
        stream.abort()
        return isinstance(failure, Exception)

    async def _stop_accepting(self) -> None:
        if self._accepting is not None:
            self._opened().shut()
            self._accepting.cancel()
            with suppress(asyncio.CancelledError, ClosedConnection):
                await asyncio.wait([self._accepting])

    async def _cut(self) -> None:
        """Cancel what still handles.

        A handler that refuses to end loses its connection, and the server does not wait for it.
        """
        for task in self._handling.values():
            task.cancel()
        if self._handling:
            await asyncio.wait(self._handling.values(), timeout=CANCEL_SECONDS)
        for stream, task in list(self._handling.items()):
            _logger.error("the handler of %s ignores its cancellation", stream.peer.endpoint)
            stream.abort()
            task.cancel()

    def _opened(self) -> Listener[Any]:
        if self._listener is None:
            raise RuntimeError("the server has not started: use `async with serve(...) as server`")
        return self._listener


CANCEL_SECONDS = 1.0

_logger = logging.getLogger("socketkit")
