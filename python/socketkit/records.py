"""`RecordMessages`: messages over a stream, each with its length in front (`sk-seq/1`, docs/protocols/sk-seq.md).

The engine does the work (`_core.Stream`): many records come out of one read and go into one write. Here are the names;
which addresses there are, and how they are opened, is `types.records`' business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from . import _core
from .connection import Connection
from .drivers import do
from .errors import EndOfStream
from .messages import Messages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer


class _Absent:
    """An attribute that is not there: what a stream has, and would break the borders of its records."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__} has no {self._name}: receive() gives whole records")


class Records(Connection):
    """What `RecordMessages` and `BlockingRecordMessages` share: everything but the waiting."""

    __slots__ = ()

    dropped = unsent = 0
    """A stream loses nothing."""
    path_mtu_bytes = None
    """A stream cuts its segments by itself."""

    @property
    def max_message_bytes(self) -> int:
        """The most that a record may have, either way (`Limits.message_bytes`)."""
        return self._max_record_bytes

    @property
    def received_messages(self) -> int:
        return self._records[0]

    @property
    def sent_messages(self) -> int:
        return self._records[1]

    receive_exactly: Any = _Absent()
    receive_until: Any = _Absent()

    # What a server asks of a connection whose handler has ended.
    _close_soon = _core.Stream._close_records_soon


class RecordMessages(Records, Messages):
    """A connection that carries records over a stream, in order: `seqpacket+tls` and `seqpacket+tcp`.

    - `await receive()`: one record, an empty one is `b""`; EndOfStream at the peer's close record.
    - `await receive_many(max_count=64)`: those that have arrived, at least one.
    - `await send(data)`, `await send_many(messages)`: wait for room (`Limits.write_high_bytes`), then take all; what
      several tasks send is never mixed. MessageTooLarge above `max_message_bytes`, and nothing is sent.
    - `await send_eof()`: the close record, then a half-close. `await aclose()`: the same, and closes as a stream does.
    - `abort()`: resets now; the peer sees a cut.
    - `async for record in messages`, `async with messages`.

    A stream that ends without a close record, or inside a record, was cut: BrokenConnection. A record that is longer
    than `Limits.message_bytes` is PeerViolation as soon as its length is there. Cancelled calls have taken and sent
    nothing. One task receives, any number send.
    """

    __slots__ = ()

    # The engine's own methods under the names of `Messages`: a function around each would cost as much as it does.
    receive = _core.Stream._receive_record  # type: ignore[assignment]
    receive_many = _core.Stream._receive_records
    send = _core.Stream._send_record  # type: ignore[assignment]
    send_many = _core.Stream._send_records
    send_eof = _core.Stream._end_records
    aclose = _core.Stream._close_records
    __anext__ = _core.Stream._next_record

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class BlockingRecordMessages(Records):
    """`RecordMessages` for `socketkit.sync`; how a call ends that runs out of time: as those of `sync.Stream`."""

    __slots__ = ()

    def receive(self) -> bytes:  # type: ignore[override]
        """One record; EndOfStream at the peer's close record."""
        return do(self._receive_record())

    def receive_many(self, max_count: int = 64) -> list[bytes]:
        """The records that have arrived, at least one."""
        return do(self._receive_records(max_count))

    def send(self, data: Buffer) -> None:  # type: ignore[override]
        """Returns when the kernel has the whole record."""
        do(self._send_record(data))

    def send_many(self, messages: Sequence[Buffer]) -> None:
        """Returns when the kernel has all of them."""
        do(self._send_records(messages))

    def send_eof(self) -> None:  # type: ignore[override]
        """The close record, then a half-close. Idempotent, behind everything that was sent."""
        do(self._end_records())

    def close(self) -> None:
        """Sends what is queued and the close record, then closes; after `Limits.close_seconds` it resets.

        Idempotent.
        """
        do(self._close_records())

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
