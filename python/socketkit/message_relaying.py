"""`MessageRelay`: the messages of two sides, each to the other. Those of a listener's callers: `message_forwarding`.

Borders are kept, or the message is refused. One batch at most is on its way in each direction: nothing more is taken
from one side before the other has taken that. A message that does not fit is refused, counted and logged where messages
may get lost anyway, which is so with datagrams on either side; where none may be missing, it ends the relay.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from .cutting import CUTS
from .errors import (
    BrokenConnection,
    ClosedConnection,
    EndOfStream,
    MessageTooLarge,
    PeerViolation,
    UnreachablePeer,
    Unsupported,
    raisable,
)
from .relaying import RelayReport
from .schemes import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Sequence

    from .connection import Peer, Stream
    from .endpoint import Endpoint


class Side(Protocol):
    """What a relay needs of each side: a part of `Messages`."""

    @property
    def peer(self) -> Peer: ...
    @property
    def max_message_bytes(self) -> int: ...
    @property
    def sent_messages(self) -> int: ...
    def receive_many(self, max_count: int = ...) -> Awaitable[list[bytes]]: ...
    def send_many(self, messages: Sequence[bytes]) -> Awaitable[None]: ...
    def send_eof(self) -> Awaitable[None]: ...
    def aclose(self) -> Awaitable[None]: ...
    def abort(self) -> None: ...


class MessageRelay:
    """Relays two `Messages` when awaited, until both have ended; gives a `RelayReport`. Made by `relay`.

    The end of one is passed on as an end. A side that knows none (UDP) is over when the other has ended and nothing
    has moved for a second; between two of them the relay goes on until it is cancelled. Meanwhile both belong to the
    relay: another task that receives gets BusyConnection. Afterwards they are their owner's again, to be closed.

    `refused`: messages that the other side cannot take; `unreachable`: how often somebody on the way said that
    datagrams did not arrive. Both are logged, at most every ten seconds. `unsent`: messages that a side has taken and
    a full interface of this machine has lost.

    Cancelled: both sides stay usable; what was taken from one is given to the other first, within five seconds. When
    one side breaks, or is closed here, the other one is reset, and the relay raises BrokenConnection or
    ClosedConnection; MessageTooLarge when a side on which nothing may be missing cannot take a message.
    """

    def __init__(
        self, a: Side, b: Side, *, idle_seconds: float | None = None, troubles: Troubles | None = None
    ) -> None:
        self._there = _Way(a, b)
        self._back = _Way(b, a)
        self._idle_seconds = idle_seconds
        self._moved_at = 0.0
        self._troubles = troubles or Troubles(f"{_where(a)} and {_where(b)}")
        self._begun = False

    @property
    def a_to_b_bytes(self) -> int:
        return self._there.bytes

    @property
    def b_to_a_bytes(self) -> int:
        return self._back.bytes

    @property
    def a_to_b_messages(self) -> int:
        return self._there.messages

    @property
    def b_to_a_messages(self) -> int:
        return self._back.messages

    @property
    def refused(self) -> int:
        """Messages that were not passed on, because the other side cannot take them."""
        return self._troubles.refused

    @property
    def unreachable(self) -> int:
        """How often somebody on the way said that what was sent did not arrive."""
        return self._troubles.unreachable

    @property
    def unsent(self) -> int:
        """Messages that a full interface of this machine has lost meanwhile."""
        return self._there.unsent + self._back.unsent

    def __await__(self) -> Generator[Any, Any, RelayReport]:
        return self._run().__await__()

    def __repr__(self) -> str:
        counts = f"{self.a_to_b_messages} messages and {self.b_to_a_messages} messages"
        return f"<{type(self).__name__} {_where(self._there.source)} and {_where(self._back.source)}, {counts}>"

    async def _run(self) -> RelayReport:
        if self._begun:
            raise RuntimeError("a relay is used once: call relay() again")
        self._begun = True
        began_at = self._moved_at = time.monotonic()
        ways = [asyncio.create_task(self._carry(way)) for way in (self._there, self._back)]
        try:
            await self._until_over(ways)
        except asyncio.CancelledError:
            raise
        except BaseException:
            for way in (self._there, self._back):
                way.source.abort()
            raise
        finally:
            for task in ways:
                task.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        return RelayReport(
            self.a_to_b_bytes,
            self.b_to_a_bytes,
            time.monotonic() - began_at,
            self.a_to_b_messages,
            self.b_to_a_messages,
        )

    async def _until_over(self, ways: list[asyncio.Task[bool]]) -> None:
        running = set(ways)
        patience = self._idle_seconds
        while running:
            left = None if patience is None else patience - (time.monotonic() - self._moved_at)
            if left is not None and left <= 0:
                if patience == self._idle_seconds and not self._there.lossy:
                    where = _where(self._there.source)
                    reason = f"no message either way for {patience:g} s (Limits.idle_seconds)"
                    raise raisable(BrokenConnection)("relay", where, reason, errno.ETIMEDOUT)
                await self._end_silent_side(ways)
                return
            done, running = await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.result() and running:
                    patience = AFTER_END_SECONDS  # the other side was not told, and may have an answer on its way
                    self._moved_at = time.monotonic()

    async def _end_silent_side(self, ways: list[asyncio.Task[bool]]) -> None:
        """The side that knows no end is taken to have ended: tell the other one."""
        for task, way in zip(ways, (self._there, self._back), strict=True):
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
                with suppress(Unsupported, BrokenConnection):
                    await way.target.send_eof()

    async def _carry(self, way: _Way) -> bool:
        """One direction until its end; says whether the other side was told of that."""
        try:
            while True:
                try:
                    batch = await way.source.receive_many()
                except EndOfStream:
                    break
                except UnreachablePeer as failure:
                    self._troubles.lost(failure)
                    continue
                self._moved_at = time.monotonic()
                await self._deliver(way, batch)
        except ClosedConnection as failure:
            # Whether that side was closed or the other one, to which it was to go, shows only here.
            raise raisable(ClosedConnection)(f"relay: {failure}") from failure
        except BrokenConnection as failure:
            where = failure.endpoint or _where(way.source)
            raise raisable(BrokenConnection)("relay", where, failure.reason, failure.errno) from failure
        try:
            await way.target.send_eof()
        except Unsupported:
            return False
        return True

    async def _deliver(self, way: _Way, batch: list[bytes]) -> None:
        try:
            await self._send(way, batch)
        except asyncio.CancelledError:
            # What was taken is not lost: a cancelled send has sent nothing (`Messages`).
            if way.pending:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_BATCH_SECONDS):
                        await self._send(way, way.pending)
            raise
        self._moved_at = time.monotonic()

    async def _send(self, way: _Way, batch: list[bytes]) -> None:
        """All of it, in order, but for what cannot be sent there."""
        patience = True
        way.pending = self._fitting(way, batch)
        while way.pending:
            before = way.target.sent_messages
            try:
                await way.target.send_many(way.pending)
            except (MessageTooLarge, UnreachablePeer) as failure:
                way.sent(way.target.sent_messages - before)
                if isinstance(failure, MessageTooLarge):
                    del way.pending[0]
                    self._refuse(way, str(failure), failure)
                    continue
                self._troubles.lost(failure)
                # It may have been about an earlier one. Twice in a row it is about this one, which is lost.
                if not (patience := not patience):
                    continue
                way.pending.pop(0)
            else:
                way.sent(len(way.pending))

    def _fitting(self, way: _Way, batch: list[bytes]) -> list[bytes]:
        most = way.target.max_message_bytes
        keeps = way.target.keeps if isinstance(way.target, CutStream) else None
        if len(max(batch, key=len)) <= most and keeps is None:
            return batch
        fitting = []
        for message in batch:
            if len(message) > most:
                self._refuse(way, f"a message of {len(message):,} bytes is more than the {most:,} that fit in one")
            elif keeps is not None and not keeps(message):
                # Its parts would pass for messages of their own.
                self._refuse(way, "a message with a line end inside cannot go out as one line, as lengths it can")
            else:
                fitting.append(message)
        return fitting

    def _refuse(self, way: _Way, reason: str, cause: BaseException | None = None) -> None:
        if not way.lossy:
            raise MessageTooLarge(f"relay to {_where(way.target)}: {reason}", way.target.max_message_bytes) from cause
        self._troubles.refuse(f"{reason}; it does not go to {_where(way.target)}")


class _Way:
    """One direction."""

    def __init__(self, source: Side, target: Side) -> None:
        self.source = source
        self.target = target
        self.lossy = _may_lose(source) or _may_lose(target)
        self.messages = self.bytes = 0
        self.pending: list[bytes] = []
        """Taken from the source, and not yet by the target."""
        self._unsent_before = self._unsent_by_target()

    def sent(self, count: int) -> None:
        self.messages += count
        self.bytes += sum(map(len, self.pending[:count]))
        self.pending = self.pending[count:]

    @property
    def unsent(self) -> int:
        return self._unsent_by_target() - self._unsent_before

    def _unsent_by_target(self) -> int:
        # A stream loses nothing, and what a peer of a datagram socket misses is counted by that socket.
        return getattr(self.target, "unsent", 0)


class Troubles:
    """What was not passed on, counted and told in the log, at most every ten seconds."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._told_at = -TOLD_EVERY_SECONDS
        self.refused = 0
        self.unreachable = 0
        self.dropped = 0

    def refuse(self, reason: str) -> None:
        self.refused += 1
        self.tell(reason, self.refused, "refused")

    def lost(self, failure: UnreachablePeer) -> None:
        self.unreachable += 1
        self.tell(str(failure), self.unreachable, "unreachable")

    def drop(self, reason: str) -> None:
        self.dropped += 1
        self.tell(reason, self.dropped, "dropped")

    def tell(self, reason: str, count: int, word: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= TOLD_EVERY_SECONDS:
            self._told_at = now
            _logger.warning("relay %s: %s (%d %s so far)", self._what, reason, count, word)


class CutStream:
    """A stream as a side of a message relay: its bytes cut into messages, and messages put into its bytes."""

    def __init__(self, stream: Stream, cut: str, max_bytes: int) -> None:
        self._stream = stream
        self._cut = CUTS[cut](max_bytes)
        self._whole: list[bytes] = []
        self._ended = False
        self.max_message_bytes = max_bytes
        self.sent_messages = 0

    @property
    def peer(self) -> Peer:
        return self._stream.peer

    async def receive_many(self, max_count: int = 64) -> list[bytes]:
        """Cancelled: nothing is lost, what was cut stays for the next call."""
        while not self._whole:
            if self._cut.fault is not None:
                raise raisable(PeerViolation)(f"{self.peer.endpoint}: {self._cut.fault}")
            if self._ended:
                raise raisable(EndOfStream)("the peer has ended the stream")
            try:
                self._whole = self._cut.feed(await self._stream.receive())
            except EndOfStream:
                self._ended = True
                self._whole = self._cut.end()
        batch, self._whole = self._whole[:max_count], self._whole[max_count:]
        return batch

    async def send_many(self, messages: Sequence[bytes]) -> None:
        await self._stream.send(self._cut.joined(messages))
        self.sent_messages += len(messages)

    def keeps(self, message: bytes) -> bool:
        """Whether the message is still one to whoever reads the stream."""
        return self._cut.keeps(message)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def abort(self) -> None:
        self._stream.abort()


def _may_lose(side: Side) -> bool:
    """Whether messages from and to there may get lost anyway."""
    scheme = side.peer.endpoint.scheme
    return "Datagrams" in SCHEMES[scheme].shapes and scheme not in ("mem", "fd")


def _where(side: Side) -> Endpoint:
    return side.peer.endpoint


AFTER_END_SECONDS = 1.0
LAST_BATCH_SECONDS = 5.0
TOLD_EVERY_SECONDS = 10.0

_logger = logging.getLogger("socketkit")
