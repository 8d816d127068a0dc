"""The verbs again, blocking: the same engine, driven by the thread that calls, with no loop behind it.

Every call waits in the calling thread and handles signals meanwhile. Threads may share a connection: one receives,
others send, any may close it, which wakes the rest. `serve` alone starts threads: one that accepts, and one for each
connection.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, overload

from .blocking import Datagrams, Listener, Messages, RecordMessages, SocketMessages, Stream
from .connection import Connection
from .drivers import ThreadDriver, block, remaining
from .drivers import deadline as timeout
from .endpoint import Endpoint
from .errors import BrokenConnection, ClosedConnection, EndOfStream, PeerViolation
from .limits import Limits
from .messages import Faces
from .messages import Messages as Contract
from .opening import keeps_borders, open_datagrams, open_messages, open_shaped_listener, open_stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from .identity import Identity
    from .relaying import RelayReport
    from .trust import Trust

__all__ = [
    "Datagrams",
    "Listener",
    "Messages",
    "Server",
    "Stream",
    "bind",
    "connect",
    "listen",
    "relay",
    "serve",
    "timeout",
]


@overload
def connect(
    address: str | Endpoint,
    shape: type[Contract | Messages],
    *,
    limits: Limits = ...,
    trust: Trust | None = ...,
    identity: Identity | None = ...,
) -> Messages: ...
@overload
def connect(
    address: str | Endpoint,
    shape: type[Connection] = ...,
    *,
    limits: Limits = ...,
    trust: Trust | None = ...,
    identity: Identity | None = ...,
) -> Stream: ...
def connect(
    address: str | Endpoint,
    shape: type = Connection,
    *,
    limits: Limits = Limits(),
    trust: Trust | None = None,
    identity: Identity | None = None,
) -> Stream | Messages:
    """Connect to `address`. The `Stream` is closed by `close()`, or at the end of its `with`.

    `shape`: `Messages` for what keeps borders. A name's addresses are raced in this thread (RFC 8305). Raises what
    `socketkit.connect` raises.
    """
    if _keeps_borders(shape):
        made: Messages = block(open_messages(FACES, address, ThreadDriver(), limits, trust, identity))
        return made
    return block(open_stream(Stream, address, ThreadDriver(), limits, trust, identity))


@overload
def listen(
    address: str | Endpoint,
    shape: type[Contract | Messages],
    *,
    limits: Limits = ...,
    identity: Identity | None = ...,
) -> Listener[Messages]: ...
@overload
def listen(
    address: str | Endpoint, shape: type[Connection] = ..., *, limits: Limits = ..., identity: Identity | None = ...
) -> Listener[Stream]: ...
def listen(
    address: str | Endpoint,
    shape: type = Connection,
    *,
    limits: Limits = Limits(),
    identity: Identity | None = None,
) -> Listener[Any]:
    """Listen on `address`, as `socketkit.listen` does."""
    wanted = Contract if _keeps_borders(shape) else Connection
    return block(open_shaped_listener(Listener, FACES, wanted, address, ThreadDriver(), limits, identity))


def serve(
    address: str | Endpoint,
    handler: Callable[[Any], object],
    shape: type = Connection,
    *,
    limits: Limits = Limits(),
    identity: Identity | None = None,
) -> Server:
    """Serve `address` with `handler(stream)` per connection, each in a thread of its own.

    `with` serves for the block, `serve(...).run()` until interrupted. How many threads there can be is
    `limits.connections`. Raises what `listen` raises. How it ends: see `Server`.
    """
    return Server(Endpoint.parse(address), handler, limits, identity, shape)


@overload
def relay(a: Stream, b: Stream) -> RelayReport: ...
@overload
def relay(a: Listener[Stream], b: str | Endpoint) -> None: ...
def relay(a: Stream | Listener[Stream], b: Stream | str | Endpoint) -> RelayReport | None:
    """Relay as `socketkit.relay` does, in this thread: two streams until both have ended, a listener until interrupted.

    Out of time or interrupted, two streams stay usable and no byte is lost; the connections of a listener are reset.
    """
    if isinstance(a, Listener) and not _keeps_borders(a._kind) and isinstance(b, (str, Endpoint)):
        from .forwarding import Forward

        Forward(a, Endpoint.parse(b)).run(ThreadDriver())
        return None
    if isinstance(a, Stream) and isinstance(b, Stream):
        from .relaying import Relay

        return Relay(a, b).run(remaining())
    raise TypeError(
        "socketkit.sync relays two streams, or a listener of streams and an address; messages are relayed by "
        "socketkit.relay, in asyncio.run()"
    )


def bind(address: str | Endpoint, *, limits: Limits = Limits()) -> Datagrams:
    """Bind a datagram socket to `address`, as `socketkit.bind` does."""
    return block(open_datagrams(Datagrams, address, ThreadDriver(), limits))


class Server:
    """Serves connections with `handler(stream)`, each in a thread of its own. Made by `serve`.

    A handler that returns closes its connection; one that raises is logged with its peer, and its connection is reset.
    At the end: no new connections, up to `Limits.grace_seconds` for the handlers to end by themselves, then their
    connections are reset, so that what blocks in them raises ClosedConnection. An exception in the block, or an
    interrupt while waiting, skips the grace. A thread cannot be cancelled: a handler that goes on without its
    connection is logged and left behind.
    """

    def __init__(
        self,
        address: str | Endpoint,
        handler: Callable[[Any], object],
        limits: Limits,
        identity: Identity | None = None,
        shape: type = Connection,
    ) -> None:
        self._address = address
        self._handler = handler
        self._limits = limits
        self._identity = identity
        self._shape = shape
        self._listener: Listener[Any] | None = None
        self._accepting: threading.Thread | None = None
        self._handling: dict[threading.Thread, Any] = {}
        self._failure: BaseException | None = None
        self._cutting = False

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

    def run(self) -> None:
        """Serve until it is interrupted, or closed by another thread; TimeoutError at the end of `timeout`."""
        with self:
            if self._accepting is not None:
                self._accepting.join(remaining())
                if self._accepting.is_alive():
                    raise TimeoutError(f"serve {self.local}: its time is over")
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End as at the end of the block, grace included. Idempotent."""
        try:
            self._stop_accepting()
            self._join(_earliest(self._limits.grace_seconds))
        finally:
            self._cut()

    def __enter__(self) -> Self:
        if self._listener is not None:
            raise RuntimeError("a server is used once: call serve() again")
        self._listener = listen(self._address, self._shape, limits=self._limits, identity=self._identity)
        self._accepting = threading.Thread(target=self._accept, name=f"accept {self.local}", daemon=True)
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._stop_accepting()
            self._cut()

    def _accept(self) -> None:
        try:
            for stream in self._opened():
                self._start(stream)
        except BaseException as failure:  # the root of a thread
            self._failure = failure
            self._opened().shut()
            _logger().error("accepting on %s ended", self.local, exc_info=failure)

    def _start(self, stream: Any) -> None:
        # Daemons: whoever leaves the block waits for them, but the end of the process must not hang on one that refuses
        # to end.
        thread = threading.Thread(target=self._handle, args=(stream,), name=f"handle {self.local}", daemon=True)
        self._handling[thread] = stream
        try:
            thread.start()
        except RuntimeError as failure:
            del self._handling[thread]
            stream.abort()
            _logger().warning("no thread for %s, its connection is reset: %s", stream.peer.endpoint, failure)

    def _handle(self, stream: Any) -> None:
        try:
            self._handler(stream)
            stream.close()
        except (BrokenConnection, EndOfStream, PeerViolation) as failure:
            self._opened()._blame(failure)
        except BaseException as failure:  # the root of a thread
            if not (self._cutting and isinstance(failure, ClosedConnection)):
                _logger().error(
                    "the handler of %s failed; its connection is reset", stream.peer.endpoint, exc_info=failure
                )
        finally:
            stream.abort()
            self._handling.pop(threading.current_thread(), None)

    def _stop_accepting(self) -> None:
        self._opened().shut()
        if self._accepting is not None and self._accepting is not threading.current_thread():
            self._accepting.join()

    def _cut(self) -> None:
        self._cutting = True
        for stream in list(self._handling.values()):
            stream.abort()
        self._join(CUT_SECONDS)
        for thread, stream in list(self._handling.items()):
            if thread is not threading.current_thread():
                _logger().error("the handler of %s goes on without its connection", stream.peer.endpoint)

    def _join(self, seconds: float) -> None:
        """Wait for the handlers, all together at most so long."""
        end = time.monotonic() + seconds
        for thread in list(self._handling):
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    def _opened(self) -> Listener[Any]:
        if self._listener is None:
            raise RuntimeError("the server has not started: use `with serve(...) as server`, or `run()`")
        return self._listener


def _keeps_borders(shape: type) -> bool:
    return issubclass(shape, Messages) or keeps_borders(shape)


FACES = Faces(Stream, SocketMessages, lambda: RecordMessages)


def _earliest(seconds: float) -> float:
    left = remaining()
    return seconds if left is None else min(seconds, left)


def _logger() -> Any:
    import logging

    return logging.getLogger("socketkit")


CUT_SECONDS = 1.0
