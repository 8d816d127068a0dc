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
    from typing import Literal

    from .datagrams import Datagrams
    from .forwarding import Forward
    from .identity import Identity
    from .message_forwarding import MessageForward
    from .message_relaying import MessageRelay
    from .relaying import Relay
    from .serving import Server
    from .trust import Trust

    Cut = Literal["lines", "lengths"]

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
def relay(a: Messages, b: Messages) -> MessageRelay: ...
@overload
def relay(a: Messages, b: Stream, *, messages: Cut) -> MessageRelay: ...
@overload
def relay(a: Stream, b: Messages, *, messages: Cut) -> MessageRelay: ...
@overload
def relay(a: Listener[Messages] | Datagrams, b: str | Endpoint, *, messages: Cut | None = None) -> MessageForward: ...
@overload
def relay(a: Listener[Stream], b: str | Endpoint, *, messages: Cut) -> MessageForward: ...
@overload
def relay(a: Listener[Stream], b: str | Endpoint) -> Forward: ...
def relay(
    a: Stream | Messages | Listener[Any] | Datagrams,
    b: Stream | Messages | str | Endpoint,
    *,
    messages: Cut | None = None,
) -> Relay | MessageRelay | Forward:
    """Relay two connections both ways, or each connection to the listener `a` to a new one to the address `b`.

    `await` it: two connections until both have ended, which gives a `RelayReport`; a listener until cancelled. The
    object counts meanwhile: `a_to_b_bytes`, `b_to_a_bytes`, for a listener `connections`, `accepted`, `failed` and
    `broken`. How it ends, and what a cancellation leaves: see `Relay` and `Forward`.

    Two `Messages` of any kind keep their borders, and so does a listener of them, or a `Datagrams`, whose every peer
    has a connection of its own to `b`: see `MessageRelay` and `MessageForward`. A stream has no borders: between one
    and messages, `messages` says what they are in the stream, "lines" or "lengths" (a big-endian u32 in front of each).
    """
    from .relays import forward, join

    return forward(a, Endpoint.parse(b), messages) if isinstance(b, (str, Endpoint)) else join(a, b, messages)


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
