"""The verbs: connect, listen, serve, bind, relay. An address in, something to use out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .connection import Stream
from .endpoint import Endpoint
from .limits import Limits
from .listener import Listener
from .messages import FACES, Messages
from .opening import keeps_borders, open_datagrams, open_messages, open_shaped_listener, open_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType

    from .datagrams import Datagrams
    from .forwarding import Forward
    from .identity import Identity
    from .relaying import Relay
    from .serving import Server
    from .trust import Trust

_T = TypeVar("_T", bound="Stream | Listener[Any] | Messages | Datagrams")


class Opening(Generic[_T]):
    """Something that is about to be opened: `await` it, or enter it with `async with`, which closes it at the end."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        self._start = start
        self._opened: _T | None = None

    def __await__(self) -> Generator[Any, Any, _T]:
        return self._start().__await__()

    async def __aenter__(self) -> _T:
        self._opened = await self._start()
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.aclose()


@overload
def connect(
    address: str | Endpoint,
    shape: type[Messages],
    *,
    limits: Limits = ...,
    trust: Trust | None = ...,
    identity: Identity | None = ...,
) -> Opening[Messages]: ...
@overload
def connect(
    address: str | Endpoint,
    shape: type[Stream] = ...,
    *,
    limits: Limits = ...,
    trust: Trust | None = ...,
    identity: Identity | None = ...,
) -> Opening[Stream]: ...
def connect(
    address: str | Endpoint,
    shape: type[Stream | Messages] = Stream,
    *,
    limits: Limits = Limits(),
    trust: Trust | None = None,
    identity: Identity | None = None,
) -> Opening[Any]:
    """Connect to `address`; the `await`, or `async with`, gives the `Stream`, or the `Messages` if that is the `shape`.

    A name's addresses are raced (RFC 8305). Under TLS `trust` says which peer is accepted, if the address does not (by
    `pin`, `ca` or `trust`; docs/identity.md has the order), and `identity` who this side is (`key`; default: this
    user). Raises EndpointError for an address that is none, ConnectError when nothing answers (with every attempt in
    `attempts`), UntrustedPeer when the peer is not the one that was meant (nothing was sent then), Unsupported for a
    scheme that this version cannot open. Cancelled: nothing stays open.
    """
    endpoint = Endpoint.parse(address)

    async def start() -> Any:
        from .drivers import LoopDriver

        if keeps_borders(shape):
            return await open_messages(FACES, endpoint, LoopDriver.current(), limits, trust, identity)
        return await open_stream(Stream, endpoint, LoopDriver.current(), limits, trust, identity)

    return Opening(start)


@overload
def listen(
    address: str | Endpoint, shape: type[Messages], *, limits: Limits = ..., identity: Identity | None = ...
) -> Opening[Listener[Messages]]: ...
@overload
def listen(
    address: str | Endpoint, shape: type[Stream] = ..., *, limits: Limits = ..., identity: Identity | None = ...
) -> Opening[Listener[Stream]]: ...
def listen(
    address: str | Endpoint,
    shape: type[Stream | Messages] = Stream,
    *,
    limits: Limits = Limits(),
    identity: Identity | None = None,
) -> Opening[Any]:
    """Listen on `address`; `async with` gives the `Listener`, whose connections have that `shape`.

    No host is loopback, `*` every interface; port 0 takes one free port for IPv4 and IPv6. Under TLS `identity` is who
    this side is (default: `key` of the address, else this user), and `local` has its fingerprint as `pin`. Beyond this
    machine TLS is required, and callers that authorized_peers lists, unless the address says `plaintext=yes` or
    `public=yes`. Raises ListenError when the address cannot be taken or would be open to others, EndpointError,
    Unsupported.
    """
    endpoint = Endpoint.parse(address)

    async def start() -> Any:
        from .drivers import LoopDriver

        return await open_shaped_listener(Listener, FACES, shape, endpoint, LoopDriver.current(), limits, identity)

    return Opening(start)


@overload
def serve(
    address: str | Endpoint,
    handler: Callable[[Messages], Coroutine[Any, Any, object]],
    shape: type[Messages],
    *,
    limits: Limits = ...,
    identity: Identity | None = ...,
) -> Server: ...
@overload
def serve(
    address: str | Endpoint,
    handler: Callable[[Stream], Coroutine[Any, Any, object]],
    shape: type[Stream] = ...,
    *,
    limits: Limits = ...,
    identity: Identity | None = ...,
) -> Server: ...
def serve(
    address: str | Endpoint,
    handler: Callable[[Any], Coroutine[Any, Any, object]],
    shape: type[Stream | Messages] = Stream,
    *,
    limits: Limits = Limits(),
    identity: Identity | None = None,
) -> Server:
    """Serve `address` with `await handler(connection)` per connection.

    `async with` serves for the block, `await` until cancelled. Takes and raises what `listen` does. How it ends: see
    `Server`.
    """
    from .serving import Server

    return Server(Endpoint.parse(address), handler, limits, identity, shape)


@overload
def relay(a: Stream, b: Stream) -> Relay: ...
@overload
def relay(a: Listener[Stream], b: str | Endpoint) -> Forward: ...
def relay(a: Stream | Listener[Stream], b: Stream | str | Endpoint) -> Relay | Forward:
    """Relay the bytes of two streams both ways, or each connection to the listener `a` to a new one to the address `b`.

    `await` it: two streams until both have ended, which gives a `RelayReport`; a listener until cancelled. The object
    counts meanwhile: `a_to_b_bytes`, `b_to_a_bytes`, for a listener `connections`, `accepted`, `failed` and `broken`.
    How it ends, and what a cancellation leaves: see `Relay` and `Forward`.
    """
    if isinstance(a, Listener) and isinstance(b, (str, Endpoint)):
        from .forwarding import Forward

        return Forward(a, Endpoint.parse(b))
    if isinstance(a, Stream) and isinstance(b, Stream):
        from .relaying import Relay

        return Relay(a, b)
    raise TypeError("relay takes two streams, or a listener and an address")


def bind(address: str | Endpoint, *, limits: Limits = Limits()) -> Opening[Datagrams]:
    """Bind a datagram socket to `address`; the `await`, or `async with`, gives the `Datagrams`.

    It hears from anybody who can reach it: no host is loopback, `*` every interface, a multicast address that group.
    Beyond this machine UDP is plain text and needs `plaintext=yes`. Raises ListenError when the address cannot be
    taken, EndpointError, Unsupported. Cancelled: nothing stays open.
    """
    endpoint = Endpoint.parse(address)

    async def start() -> Datagrams:
        from .datagrams import Datagrams
        from .drivers import LoopDriver

        return await open_datagrams(Datagrams, endpoint, LoopDriver.current(), limits)

    return Opening(start)
