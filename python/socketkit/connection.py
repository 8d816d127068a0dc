"""`Stream`: bytes both ways between two endpoints, and the exceptions that the engine raises about it.

The engine does the work (`_core.Stream`); here are the names, the lazily made values and the words.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from . import _core
from .endpoint import Endpoint
from .errors import (
    BrokenConnection,
    BusyConnection,
    ClosedConnection,
    ConnectError,
    EndOfStream,
    MessageTooLarge,
    PeerViolation,
    SocketError,
    UnreachablePeer,
    Unsupported,
    UntrustedPeer,
    explain,
    explained,
    from_errno,
    raisable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Protocol, Self

    from .drivers import Driver
    from .identity import Identity
    from .trust import Trust

    class HasFileno(Protocol):
        def fileno(self) -> int: ...

    FileLike = HasFileno | int

_Connection = TypeVar("_Connection", bound="Connection")


class Credentials(NamedTuple):
    """Who opened the other end of a Unix socket, as the kernel saw it then (man 7 unix, SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


class Peer(NamedTuple):
    """The other end: where it is, and what was proved of who it is (None: nothing)."""

    endpoint: Endpoint
    fingerprint: str | None = None
    credentials: Credentials | None = None


class Connection(_core.Stream):
    """What `Stream` and `sync.Stream` share: everything but the waiting."""

    __slots__ = ("__weakref__", "_called", "_endpoint", "_local", "_peer", "_sockaddr")

    _called: Endpoint | None
    """What `connect` was asked for; None if the peer has called."""
    _endpoint: Endpoint
    _local: Endpoint | None
    _peer: Peer | None
    _sockaddr: tuple[Any, ...] | None

    @property
    def local(self) -> Endpoint:
        """This end."""
        if self._local is None:
            self._local = look(self, "getsockname") or self._endpoint
        return self._local

    @property
    def peer(self) -> Peer:
        """The other end, as it was when the connection was made: a closed connection still knows it."""
        if self._peer is None:
            self._peer = self._look_at_peer()
        return self._peer

    @property
    def encrypted(self) -> bool:
        """Whether nobody on the way can read it. A Unix or in-process connection has no way."""
        return self._endpoint.carrier in ("unix", "mem", "tls")

    @property
    def alpn(self) -> str | None:
        """The application protocol that both sides of TLS have agreed on (RFC 7301), or None."""
        session = self._session
        return session[1] if session else None

    @property
    def ciphers(self) -> tuple[str, str] | None:
        """The names of TLS's cipher and key exchange; None without TLS."""
        session = self._session
        return session[2:4] if session else None

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<{type(self).__name__} {self.local} to {self.peer.endpoint}, {state}>"

    async def _next_line(self, max_bytes: int) -> bytes | None:
        """A line without its end; None when there is none any more."""
        receive = super().receive
        try:
            line = await super().receive_until(b"\n", max_bytes=max_bytes)
        except EndOfStream:
            # The rest is shorter than max_bytes, yet may be more than one receive gives.
            rest = bytearray()
            with suppress(EndOfStream):
                while True:
                    rest += await receive()
            return bytes(rest) or None
        return line[:-2] if line.endswith(b"\r\n") else line[:-1]

    def _require_unix(self, operation: str) -> None:
        if self._endpoint.carrier not in ("unix", "mem"):
            raise ValueError(f"{operation}: descriptors travel over Unix sockets only, this is {self._endpoint}")

    def _admit(self, data: bytes, fds: list[int], max_fds: int) -> tuple[bytes, list[int]]:
        if len(fds) > max_fds:
            close_all(fds)
            raise raisable(PeerViolation)(f"the peer sent {len(fds)} descriptors where {max_fds} were allowed")
        return data, fds

    def _look_at_peer(self) -> Peer:
        where = None
        sockaddr = self._sockaddr or self._remote
        if sockaddr is not None:
            where = Endpoint.from_sockaddr(self._endpoint.scheme, sockaddr)
        where = where or look(self, "getpeername") or self._endpoint
        session = self._session
        return Peer(where, session[0] if session else None, credentials_of(self))


def piece_of(file: FileLike, offset: int, count: int | None) -> tuple[int, int, int | None]:
    """What is to be sent of a file: its descriptor, from where, how much."""
    if offset < 0 or (count is not None and count < 0):
        raise ValueError("offset and count are 0 or more bytes")
    return file if isinstance(file, int) else file.fileno(), offset, count


class Stream(Connection):
    """A connection that carries bytes without borders. Made by `connect`, `Listener.accept` and `serve`.

    - `await receive(max_bytes=262144)`: at least one byte, at most `max_bytes`; EndOfStream when the peer has ended.
    - `await receive_exactly(count)`: EndOfStream if it ends before; what has come stays for the next receive.
    - `await receive_until(delimiter, *, max_bytes=65536)`: up to and with the delimiter; PeerViolation if it is longer.
    - `await send(data)`: waits for room (`Limits.write_high_bytes`), then takes all of it; the kernel may still have to
      send it.
    - `await send_eof()`: half-close, idempotent. Cancelled: the end is sent anyway, behind what is queued.
    - `await aclose()`: sends what is queued, then closes; after `Limits.close_seconds` it resets. Idempotent, and so is
      cancelling it: the closing goes on.
    - `abort()`: resets now; the peer sees that the stream was cut, not ended. (A Unix socket knows no reset: there it
      sees an end.)
    - `penalise()`, where the peer called us: says that it did what no honest peer does, such as guessing passwords. Its
      address gets a penalty (`Limits.penalty_seconds`; `abuse` in the listener's `stats`); the stream stays open.
    - `async for chunk in stream`, `async with stream`.

    Under TLS (`tls://`, or after `start_tls`) an end that the peer did not announce is BrokenConnection: somebody on
    the way can forge it. `peer.fingerprint` is the key that the peer has proved.

    A cancelled receive has taken nothing and a cancelled send has sent nothing. Any number of tasks may send; a second
    one that receives gets BusyConnection. A reset is BrokenConnection, use after closing ClosedConnection.
    """

    __slots__ = ()

    async def send_file(self, file: FileLike, offset: int = 0, count: int | None = None) -> int:
        """Send `count` bytes of an open file from `offset` on, or all up to its end; returns how many those were.

        The kernel sends them from where they are (man 2 sendfile); under TLS they pass through the engine in pieces.
        No other task's data comes between them, and the file's own position is neither asked nor moved.
        A file that ends sooner gives fewer. One that cannot be read raises OSError, and the connection goes on.
        Cancelled: a part of it may have been sent, so the connection is of use only to who can tell how much.
        """
        return await self._send_file(*piece_of(file, offset, count))

    async def send_fds(self, data: bytes, fds: Sequence[int]) -> None:
        """Send `data` (at least a byte) with open descriptors (at most 253); the caller keeps his own.

        Unix sockets only (man 7 unix).
        """
        self._require_unix("send_fds")
        await self._send_descriptors(data, list(fds))

    async def receive_fds(self, max_bytes: int = 65_536, max_fds: int = 16) -> tuple[bytes, list[int]]:
        """Receive bytes and the descriptors that came with the first of them, which are the caller's to close.

        Raises PeerViolation if more than `max_fds` came (all are closed then).
        """
        self._require_unix("receive_fds")
        return self._admit(*await self._receive_descriptors(max_bytes), max_fds)

    async def start_tls(
        self,
        *,
        server_side: bool | None = None,
        name: str | None = None,
        alpn: Sequence[str] = (),
        trust: Trust | None = None,
        identity: Identity | None = None,
    ) -> None:
        """Go on under TLS 1.3, in place: for protocols that begin in plain text (STARTTLS).

        The side that accepted the connection is the server, unless `server_side` says otherwise. `name` is the host
        that a client means (default: what it connected to). Whom it trusts, and which identity is shown: as in
        `connect` and `listen`. What was received and not consumed goes to TLS, never to the application (RFC 3207 §5).

        Raises UntrustedPeer, PeerViolation when the peer does not speak TLS 1.3, BrokenConnection. After an error, or
        when cancelled, the connection is reset: half a handshake is of no use.
        """
        from . import securing

        await securing.start(self, server_side=server_side, name=name, alpn=alpn, trust=trust, identity=identity)

    async def lines(self, *, max_bytes: int = 65_536) -> AsyncIterator[bytes]:
        """The lines of the stream without their ends (LF or CRLF); the last one needs none.

        PeerViolation over `max_bytes`.
        """
        while (line := await self._next_line(max_bytes)) is not None:
            yield line

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """What anyio's typed attributes know of this stream (`anyio.abc.SocketAttribute`)."""
        from anyio.abc import SocketAttribute

        known: dict[Any, Callable[[], Any]] = {
            SocketAttribute.raw_socket: lambda: _view(self.fileno()),
            SocketAttribute.family: lambda: _view(self.fileno()).family,
            SocketAttribute.local_address: lambda: _address(self.local),
            SocketAttribute.remote_address: lambda: _address(self.peer.endpoint),
        }
        if self._endpoint.port is not None:
            known[SocketAttribute.local_port] = lambda: self.local.port
            known[SocketAttribute.remote_port] = lambda: self.peer.endpoint.port
        return known

    def extra(self, attribute: Any, default: Any = ...) -> Any:
        """The value of one of anyio's typed attributes.

        Raises anyio's TypedAttributeLookupError if it is unknown and has no default.
        """
        found = self.extra_attributes.get(attribute)
        if found is not None:
            return found()
        if default is ...:
            from anyio import TypedAttributeLookupError

            raise TypedAttributeLookupError("Attribute not found")
        return default


def adopt(
    kind: type[_Connection],
    source: int | _core.Arrival,
    endpoint: Endpoint,
    driver: Driver,
    bounds: _core.Bounds,
    *,
    sockaddr: tuple[Any, ...] | None = None,
    counted_by: _core.Listener | None = None,
    connecting: bool = False,
) -> _Connection:
    """The connection of an open, non-blocking descriptor, which it owns from here on, or of who has come in."""
    carrier = endpoint.carrier
    stream = kind(
        source,
        driver.reactor,
        carrier in ("unix", "mem", "vsock"),
        bounds,
        counted_by,
        connecting,
        carrier != "mem",
    )
    stream._endpoint = endpoint
    stream._local = stream._peer = stream._called = None
    stream._sockaddr = sockaddr
    return stream


def look(connection: Any, call: str) -> Endpoint | None:
    """What the kernel says of a connection's end (`getsockname`, `getpeername`), as an endpoint of its scheme."""
    if connection._endpoint.carrier == "mem":
        return connection._endpoint  # type: ignore[no-any-return]
    try:
        with Borrowed(connection.fileno()) as sock:
            name = getattr(sock, call)()
            if connection._endpoint.carrier == "vsock":
                from .sockaddr import own_vsock_name

                name = own_vsock_name(sock, *name)
            return Endpoint.from_sockaddr(connection._endpoint.scheme, name)
    except (OSError, ClosedConnection):
        return None


def credentials_of(connection: Any) -> Credentials | None:
    """Who opened the other end of a Unix socket; None for others."""
    if connection._endpoint.carrier not in ("unix", "mem"):
        return None
    import socket
    import struct

    try:
        with Borrowed(connection.fileno()) as sock:
            raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except (OSError, ClosedConnection):
        return None
    return Credentials(*struct.unpack("3i", raw))


def failure(
    kind: str, subject: Any, operation: str, detail: int, words: str, place: bytes | None = None
) -> BaseException:
    """The exception for what the engine reports; called by it when something fails."""
    if kind == "end":
        more = f"; {detail} bytes are left for receive()" if detail else ""
        what = "stream" if isinstance(subject, _core.Stream) else "connection"
        return raisable(EndOfStream)(f"{operation}: the {what} has ended{more}")
    if kind == "closed":
        return raisable(ClosedConnection)(f"{operation}: this side has closed the {_noun(subject)}")
    if kind == "busy":
        return raisable(BusyConnection)(
            f"{operation}: another task is receiving from this connection, or it is being relayed, or TLS begins on it"
        )
    if kind == "too long":
        return raisable(PeerViolation)(f"{operation}: no delimiter within {detail} bytes; they are left for receive()")
    if kind == "too large":
        return raisable(PeerViolation)(
            f"{operation}: {words} bytes in one message, and limits.message_bytes is {detail}: "
            "receive it in parts, or allow more"
        )
    if kind == "message too large":
        return MessageTooLarge(
            f"{operation}: a message of {int(words):,} bytes, and {detail:,} are the most (limits.message_bytes): "
            "send it in parts, or allow more on both sides"
        )
    if kind == "violation":
        return raisable(PeerViolation)(f"{operation} {subject.peer.endpoint}: {words}")
    if kind == "oversize":
        most = f", and {detail} is the most" if detail else ", and a link on the way takes less"
        return MessageTooLarge(
            f"{operation}: a message of {words} bytes{most} that can be sent to there", detail or None
        )
    if kind == "endless":
        endless = "this type of socket knows no end: say it in a message of your own, or aclose()"
        return raisable(Unsupported)(operation, subject._endpoint, endless)
    if kind == "empty":
        empty = "this type of socket has no messages without bytes: send at least one"
        return raisable(Unsupported)(operation, subject._endpoint, empty)
    if kind == "unreachable":
        there = subject._named(place) if place else subject.peer.endpoint
        return raisable(UnreachablePeer)(operation, there, _why_unreachable(there, detail, words), detail)
    where = _place(subject, operation)
    if kind == "untrusted":
        presented, _, why = words.partition(" ")
        return raisable(UntrustedPeer)(operation, where, why, detail, presented=presented or None)
    if kind == "cut":
        cut = raisable(BrokenConnection)(operation, where, f"cut by limits.{words}: {_CUTS[words]}", detail)
        return explained(cut, "denial-of-service")
    if kind == "unended":
        return raisable(BrokenConnection)(operation, where, f"cut: the stream ended {words}", detail)
    if kind == "tls":
        return raisable(BrokenConnection)(operation, where, words, detail)
    reason: type[SocketError] = {"connect": ConnectError, "accept": SocketError}.get(operation, BrokenConnection)
    if where.carrier == "vsock" and detail == errno.ENOBUFS:
        return raisable(reason)(operation, where, _TORN, detail)
    return from_errno(reason, operation, where, detail)


def _place(subject: Any, operation: str) -> Endpoint:
    if operation in ("connect", "accept") or not hasattr(subject, "peer"):
        return subject._endpoint  # type: ignore[no-any-return]
    return subject.peer.endpoint  # type: ignore[no-any-return]


def _why_unreachable(there: Endpoint | None, number: int, words: str) -> str:
    if words and not words.startswith("after "):
        return words  # somebody on the way has said it
    reason = explain(number)
    if number == errno.EACCES and there is not None and there.carrier in ("udp", "udp4", "udp6"):
        reason = "not permitted: to send to a broadcast address write broadcast=yes in this socket's own"
    return f"{reason}, {words}" if words else reason


_TORN = (
    "the peer has no room, and the kernel took only a part of a message: the connection is over. "
    "Have fewer bytes under way than the peer has room for (262,144), or use vsock:// and borders of your own"
)


def _noun(subject: object) -> str:
    return "listener" if isinstance(subject, _core.Listener) else "connection"


def _address(endpoint: Endpoint) -> tuple[str, int] | str:
    if endpoint.host is not None and endpoint.port is not None:
        return endpoint.host, endpoint.port
    return endpoint.path or ""


def _view(fd: int) -> Any:
    """A `socket.socket` to look at a descriptor with: neither closing nor dropping it closes what the stream owns."""
    import socket

    class View(socket.socket):
        def close(self) -> None:
            self.detach()

        __del__ = close

    return View(fileno=fd)


def close_all(fds: Sequence[int]) -> None:
    import os

    for fd in fds:
        os.close(fd)


class Borrowed:
    """A `socket.socket` on a descriptor that somebody else owns: left, it is forgotten and not closed."""

    def __init__(self, fd: int) -> None:
        import socket

        self._socket = socket.socket(fileno=fd)

    def __enter__(self) -> Any:
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.detach()


_CUTS = {
    "first_message_seconds": "its first message did not come in time",
    "idle_seconds": "nothing came or went for too long",
    "slowest_bytes_per_second": "a message came too slowly",
    "write_stalled_seconds": "the peer takes nothing of what is sent",
    "unproven_connections": "it sent nothing, and a newer caller needed its place",
    "memory_bytes": "what waits to be sent or received took too much memory",
}
