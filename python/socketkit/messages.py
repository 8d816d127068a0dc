"""`Messages`: records with borders, in order, between two endpoints. Here is the contract, and what carries it over a
kernel socket that keeps borders itself; records over a stream are in `records`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from . import _core
from .connection import Borrowed, Connection, Peer, Stream, close_all, credentials_of, look
from .endpoint import Endpoint
from .errors import ClosedConnection, PeerViolation, raisable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer

    from .drivers import Driver
    from .listener import Listening
    from .types.options import Opened

_Messages = TypeVar("_Messages", bound="MessageSocket")


class Messages:
    """A connection that keeps the borders of what is sent. Made by `connect(..., Messages)`, `listen`, `serve`.

    - `await receive()`: one message, which may be empty. EndOfStream when the peer has ended; UnreachablePeer when
      somebody on the way says that what was sent did not arrive (the connection lives on).
    - `await receive_many(max_count=64)`: at least one, as many as are there.
    - `await send(data)`: all of it as one message, or nothing. ValueError over `max_message_bytes`, with nothing sent.
    - `await send_many(messages)`: in order, in as few system calls as it takes. It waits until what others sent before
      is gone, then takes all of them.
    - `await send_eof()`: nothing more will be sent. Unsupported where the type knows no end (UDP, raw sockets).
    - `await aclose()`, `abort()`, `penalise()`, `async for message in messages`, `async with messages`: as a stream.

    A cancelled receive has taken nothing and a cancelled send has sent nothing. Any number of tasks may send; a second
    one that receives gets BusyConnection.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def local(self) -> Endpoint: ...
        @property
        def peer(self) -> Peer: ...
        @property
        def encrypted(self) -> bool: ...
        @property
        def alpn(self) -> str | None: ...
        @property
        def ciphers(self) -> tuple[str, str] | None: ...
        @property
        def closed(self) -> bool: ...
        @property
        def max_message_bytes(self) -> int: ...
        @property
        def dropped(self) -> int: ...
        @property
        def unsent(self) -> int: ...
        @property
        def received_messages(self) -> int: ...
        @property
        def sent_messages(self) -> int: ...
        @property
        def path_mtu_bytes(self) -> int | None: ...
        def receive(self) -> Coroutine[Any, Any, bytes]: ...
        def receive_many(self, max_count: int = 64) -> Coroutine[Any, Any, list[bytes]]: ...
        def send(self, data: Buffer) -> Coroutine[Any, Any, None]: ...
        def send_many(self, messages: Sequence[Buffer]) -> Coroutine[Any, Any, None]: ...
        def send_eof(self) -> Coroutine[Any, Any, None]: ...
        def send_fds(self, data: bytes, fds: Sequence[int]) -> Coroutine[Any, Any, None]: ...
        def receive_fds(self, max_fds: int = 16) -> Coroutine[Any, Any, tuple[bytes, list[int]]]: ...
        def aclose(self) -> Coroutine[Any, Any, None]: ...
        def abort(self) -> None: ...
        def penalise(self) -> None: ...
        def fileno(self) -> int: ...
        def __aiter__(self) -> Self: ...
        def __anext__(self) -> Coroutine[Any, Any, bytes]: ...
        async def __aenter__(self) -> Self: ...
        async def __aexit__(
            self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
        ) -> None: ...


class MessageSocket(_core.MessageSocket):
    """What the faces of a kernel message socket share: everything but the waiting."""

    __slots__ = ("__weakref__", "_called", "_endpoint", "_held", "_local", "_peer", "_remove")

    _called: Endpoint | None
    _endpoint: Endpoint
    _local: Endpoint | None
    _peer: Peer | None
    _remove: Callable[[], None] | None
    _held: tuple[socket.socket, ...]

    @property
    def local(self) -> Endpoint:
        """This end."""
        if self._local is None:
            self._local = look(self, "getsockname") or self._endpoint
        return self._local

    @property
    def encrypted(self) -> bool:
        """Whether nobody on the way can read it. A Unix or in-process connection has no way."""
        return self._endpoint.carrier in ("unix", "mem")

    def _named(self, raw: bytes) -> Endpoint | None:
        """The endpoint of a kernel address; called by the engine for each new one."""
        from .sockaddr import unpacked

        return unpacked(self._endpoint.scheme, raw, int(self._endpoint.query.get("proto", "0"), 0))

    def _addressed(self, to: Endpoint | str | None) -> bytes:
        """The kernel address of an endpoint; called by the engine for those that it did not make."""
        if to is None:
            raise ValueError("the sender has no name, so it cannot be answered: it must bind one before it sends")
        from .types.datagram import addressed

        if to is None:
            raise ValueError("send: this peer has no name to send to (a Unix socket gets one when it is bound)")
        return addressed(self._endpoint, Endpoint.parse(to), self._family())

    def _located(self, address: str, interface: int, port: int | None) -> Endpoint:
        """The endpoint that a datagram was sent to: one of this machine's, a group, all machines of a network."""
        from ipaddress import ip_address

        parsed = ip_address(address)
        mapped = getattr(parsed, "ipv4_mapped", None)
        host = str(mapped or parsed)
        if getattr(parsed, "is_link_local", False) and parsed.version == 6:
            import socket

            host = f"{host}%{socket.if_indextoname(interface)}"
        query = {name: value for name, value in self._endpoint.query.items() if name == "proto"}
        return self._endpoint.replace(host=host, port=port, query=query)

    def _family(self) -> int:
        import socket

        with Borrowed(self.fileno()) as view:
            return int(view.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN))

    def _forget(self) -> None:
        """Remove what the socket left in the file system, and close what it held so that nobody else gets it."""
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()
        for other in self._held:
            other.close()


class MessagesSocket(MessageSocket, Messages):
    """What `SocketMessages` and its blocking twin share."""

    __slots__ = ()

    @property
    def peer(self) -> Peer:
        """The other end, as it was when the connection was made: a closed connection still knows it."""
        if self._peer is None:
            where = look(self, "getpeername") or self._called or self._endpoint
            self._peer = Peer(where, None, credentials_of(self))
        return self._peer

    @property
    def alpn(self) -> str | None:
        return None

    @property
    def ciphers(self) -> tuple[str, str] | None:
        return None

    @property
    def path_mtu_bytes(self) -> int | None:
        """The largest packet that the path is known to take (IP_MTU, man 7 ip); None where there is none."""
        if self._endpoint.carrier not in ("udp", "udp4", "udp6"):
            return None
        import socket

        try:
            with Borrowed(self.fileno()) as view:
                if view.family == socket.AF_INET6:
                    return int(view.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU))
                return int(view.getsockopt(socket.IPPROTO_IP, IP_MTU))
        except (OSError, ClosedConnection):
            return None

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Messages {self.local} to {self.peer.endpoint}, {state}>"

    def _require_unix(self, operation: str) -> None:
        if self._endpoint.carrier not in ("unix", "mem"):
            raise ValueError(f"{operation}: descriptors travel over Unix sockets only, this is {self._endpoint}")

    def _admit(self, data: bytes, fds: list[int], lost: bool, max_fds: int) -> tuple[bytes, list[int]]:
        if lost or len(fds) > max_fds:
            close_all(fds)
            raise raisable(PeerViolation)(f"the peer sent more descriptors than the {max_fds} that were allowed")
        return data, fds


class SocketMessages(MessagesSocket):
    """`Messages` of a kernel socket that keeps borders: UDP, Unix, SCTP, vsock, raw."""

    __slots__ = ()

    if TYPE_CHECKING:

        def receive(self, max_bytes: int = ...) -> _core.Operation[bytes]: ...
        def receive_many(self, max_count: int = 64) -> _core.Operation[list[bytes]]: ...
        def __anext__(self) -> _core.Operation[bytes]: ...

    def send_many(self, messages: Sequence[Buffer]) -> _core.Operation[None]:
        return self._send_all(messages)

    async def send_fds(self, data: bytes, fds: Sequence[int]) -> None:
        """Send one message with open descriptors (at most 253); the caller keeps his own. Unix only (man 7 unix)."""
        self._require_unix("send_fds")
        await self._send_descriptors(data, list(fds))

    async def receive_fds(self, max_fds: int = 16) -> tuple[bytes, list[int]]:
        """Receive one message and the descriptors that came with it, which are the caller's to close.

        Raises PeerViolation if more than `max_fds` came (all are closed then).
        """
        self._require_unix("receive_fds")
        return self._admit(*await self._receive_descriptors(), max_fds)

    async def aclose(self) -> None:  # type: ignore[override]
        self._forget()
        await super().aclose()

    def abort(self) -> None:
        self._forget()
        super().abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class Faces(NamedTuple):
    """The classes of one face of the package, awaited or blocking."""

    stream: type[Connection]
    messages: type[MessageSocket]
    records: Callable[[], type[Connection]]


def adopt_messages(
    kind: type[_Messages],
    opened: Opened,
    endpoint: Endpoint,
    driver: Driver,
    bounds: _core.Bounds,
    *,
    connected: bool,
) -> _Messages:
    """The message socket of a kernel socket that is open; it is owned from here on."""
    made = kind(opened.sock.detach(), driver.reactor, bounds, opened.kind, connected)
    handed_over = endpoint.scheme == "fd"  # it is what it is, whatever its number
    made._endpoint = endpoint if connected and not handed_over else opened.where
    made._called = opened.where if connected and not handed_over else None
    made._local = None if connected else opened.where
    made._peer = None
    made._remove = opened.remove
    made._held = opened.held
    return made


def accepted_messages(listener: Listening, arrival: _core.Arrival) -> MessageSocket:
    """The message socket of who has come in."""
    endpoint = listener._endpoint
    sort = endpoint.carrier if endpoint.carrier in ("sctp", "vsock") else "unix-record"
    kind = cast("type[MessageSocket]", listener._kind)
    made = kind(arrival, listener._reactor, listener._bounds, sort, True, listener)
    made._endpoint = endpoint
    made._called = made._local = made._peer = made._remove = None
    made._held = ()
    return made


def _records() -> type[Connection]:
    from .records import RecordMessages

    return RecordMessages


FACES = Faces(Stream, SocketMessages, _records)

# man 7 ip, man 7 ipv6; not in the socket module
IP_MTU = 14
IPV6_MTU = 24
