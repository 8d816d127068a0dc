"""The connections and the listener of `socketkit.sync`: what each method of them does in a thread that waits.

Each is the one that a loop has, with its operations done by the calling thread; what a call leaves behind that runs out
of time, or is interrupted, is said here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .connection import Connection, piece_of
from .datagrams import DatagramSocket
from .drivers import block, do
from .errors import ClosedConnection, EndOfStream
from .listener import Listening
from .messages import MessagesSocket
from .records import BlockingRecordMessages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer

    from ._core import Datagram
    from .connection import FileLike, Peer
    from .endpoint import Endpoint
    from .identity import Identity
    from .trust import Trust

_Accepted = TypeVar("_Accepted")


class Stream(Connection):
    """A connection that carries bytes without borders: `socketkit.Stream`, blocking.

    Made by `connect`, `Listener.accept` and `serve`. A call that raises TimeoutError (see `timeout`) or is interrupted
    has received nothing and sent nothing, with one exception that cannot be avoided without a loop: once `send` has
    begun to give the kernel its data, that will go out whole. Out of time, `send` returns then; what is left goes out
    with the next calls, `close` at the latest. `abort()` in another thread resets at once.
    """

    __slots__ = ()

    def receive(self, max_bytes: int = 262_144) -> bytes:  # type: ignore[override]
        """At least one byte, at most `max_bytes`; EndOfStream when the peer has ended."""
        return do(super().receive(max_bytes))

    def receive_exactly(self, count: int) -> bytes:  # type: ignore[override]
        """`count` bytes. EndOfStream if it ends before; what has come stays for the next receive."""
        return do(super().receive_exactly(count))

    def receive_until(self, delimiter: bytes, *, max_bytes: int = 65_536) -> bytes:  # type: ignore[override]
        """Up to and with the delimiter; PeerViolation if it is longer, and what has come stays."""
        return do(super().receive_until(delimiter, max_bytes=max_bytes))

    def lines(self, *, max_bytes: int = 65_536) -> Iterator[bytes]:
        """The lines of the stream without their ends (LF or CRLF); the last one needs none.

        PeerViolation over `max_bytes`.
        """
        while (line := block(self._next_line(max_bytes))) is not None:
            yield line

    def send(self, data: Buffer) -> None:  # type: ignore[override]
        """Returns when the kernel has all of `data`."""
        do(super().send(data))

    def send_eof(self) -> None:  # type: ignore[override]
        """Half-close, idempotent, behind everything that was sent."""
        do(super().send_eof())

    def start_tls(
        self,
        *,
        server_side: bool | None = None,
        name: str | None = None,
        alpn: Sequence[str] = (),
        trust: Trust | None = None,
        identity: Identity | None = None,
    ) -> None:
        """As `socketkit.Stream.start_tls`."""
        from . import securing

        block(securing.start(self, server_side=server_side, name=name, alpn=alpn, trust=trust, identity=identity))

    def send_file(self, file: FileLike, offset: int = 0, count: int | None = None) -> int:
        """As `socketkit.Stream.send_file`. Out of time (TimeoutError), a part may have been sent."""
        return do(self._send_file(*piece_of(file, offset, count)))

    def send_fds(self, data: bytes, fds: Sequence[int]) -> None:
        """As `socketkit.Stream.send_fds`."""
        self._require_unix("send_fds")
        do(self._send_descriptors(data, list(fds)))

    def receive_fds(self, max_bytes: int = 65_536, max_fds: int = 16) -> tuple[bytes, list[int]]:
        """As `socketkit.Stream.receive_fds`."""
        self._require_unix("receive_fds")
        return self._admit(*do(self._receive_descriptors(max_bytes)), max_fds)

    def close(self) -> None:
        """Sends what is queued, then closes; after `Limits.close_seconds` it resets, and if it is interrupted.

        Idempotent.
        """
        do(super().aclose())

    aclose = close  # type: ignore[assignment]  # what it is called in socketkit

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            return self.receive()
        except EndOfStream:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Messages:
    """A connection that keeps borders: `socketkit.Messages`, blocking. Made by `connect`, `Listener.accept`, `serve`.

    What is said of `Stream` holds here too.
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
        def receive(self) -> bytes: ...
        def receive_many(self, max_count: int = 64) -> list[bytes]: ...
        def send(self, data: Buffer) -> None: ...
        def send_many(self, messages: Sequence[Buffer]) -> None: ...
        def send_eof(self) -> None: ...
        def send_fds(self, data: bytes, fds: Sequence[int]) -> None: ...
        def receive_fds(self, max_fds: int = 16) -> tuple[bytes, list[int]]: ...
        def close(self) -> None: ...
        def abort(self) -> None: ...
        def penalise(self) -> None: ...
        def fileno(self) -> int: ...

    aclose: Callable[[], None]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            return self.receive()
        except EndOfStream:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class SocketMessages(MessagesSocket, Messages):
    """`Messages` of a kernel socket that keeps borders."""

    __slots__ = ()

    def receive(self, max_bytes: int = 65_535) -> bytes:  # type: ignore[override]
        """One message, which may be empty; EndOfStream when the peer has ended."""
        return do(super().receive(max_bytes))  # type: ignore[no-any-return]

    def receive_many(self, max_count: int = 64) -> list[bytes]:  # type: ignore[override]
        """At least one message, as many as are there."""
        return do(super().receive_many(max_count))

    def send(self, data: Buffer) -> None:  # type: ignore[override]
        """Returns when the kernel has the message."""
        do(super().send(data))

    def send_many(self, messages: Sequence[Buffer]) -> None:  # type: ignore[override]
        """Returns when the kernel has all of them, in their order."""
        do(self._send_all(messages))

    def send_eof(self) -> None:  # type: ignore[override]
        """Nothing more will be sent."""
        do(super().send_eof())

    def send_fds(self, data: bytes, fds: Sequence[int]) -> None:  # type: ignore[override]
        """As `socketkit.Messages.send_fds`."""
        self._require_unix("send_fds")
        do(self._send_descriptors(data, list(fds)))

    def receive_fds(self, max_fds: int = 16) -> tuple[bytes, list[int]]:  # type: ignore[override]
        """As `socketkit.Messages.receive_fds`."""
        self._require_unix("receive_fds")
        return self._admit(*do(self._receive_descriptors()), max_fds)

    def close(self) -> None:
        """Close, after what waits to be sent is gone. Idempotent."""
        self._forget()
        do(super().aclose())

    aclose = close  # type: ignore[assignment]  # what it is called in socketkit

    def abort(self) -> None:
        """Close now."""
        self._forget()
        super().abort()


class RecordMessages(BlockingRecordMessages, Messages):
    """`Messages` of records over a stream."""

    __slots__ = ()


class Datagrams(DatagramSocket):
    """A bound datagram socket: `socketkit.Datagrams`, blocking. Made by `bind`."""

    __slots__ = ()

    def receive(self, max_bytes: int = 65_535) -> Datagram:  # type: ignore[override]
        """The next datagram; one that is longer is cut, and says `truncated`."""
        return do(super().receive(max_bytes))  # type: ignore[no-any-return]

    def receive_many(self, max_count: int = 64) -> list[Datagram]:  # type: ignore[override]
        """At least one datagram, as many as are there."""
        return do(super().receive_many(max_count))

    def send(self, data: Buffer, to: Endpoint | str) -> None:  # type: ignore[override]
        """Send one datagram."""
        do(self._send_to(data, to))

    def send_many(self, messages: Sequence[Any], to: Endpoint | str | None = None) -> None:
        """As `socketkit.Datagrams.send_many`."""
        do(self._send_datagrams(messages) if to is None else self._send_all_to(messages, to))

    def answer(self, datagram: Datagram, data: Buffer) -> None:  # type: ignore[override]
        """To its peer, from the address that it came to."""
        do(super().answer(datagram, data))

    def close(self) -> None:
        """Close, after what waits to be sent is gone. Idempotent."""
        self._forget()
        do(super().aclose())

    aclose = close  # type: ignore[assignment]  # what it is called in socketkit

    def abort(self) -> None:
        """Close now."""
        self._forget()
        super().abort()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Datagram:
        return self.receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Listener(Listening, Generic[_Accepted]):
    """Listening sockets under one endpoint: `socketkit.Listener`, blocking. Made by `listen`.

    Any number of threads may accept. `close()` from another one ends their waiting with ClosedConnection, and a `for`
    over the listener.
    """

    __slots__ = ()

    def accept(self) -> _Accepted:  # type: ignore[override]
        """The next connection. Out of time: it has taken none."""
        accepted: _Accepted = do(super().accept())
        return accepted

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self.shut()

    aclose = close  # what it is called in socketkit

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _Accepted:
        try:
            return self.accept()
        except ClosedConnection:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shut()


# Users meet them as `socketkit.sync.Stream`: so they are called in a traceback, in a repr, and in a pickle.
for _face in (Stream, Messages, SocketMessages, RecordMessages, Datagrams, Listener):
    _face.__module__ = "socketkit.sync"
