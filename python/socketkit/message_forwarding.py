"""`MessageForward`: who calls a listener of messages, or a datagram socket, is relayed to a target, each for himself.

A datagram socket has no callers; each address that datagrams come from is taken for one (`Visitors`), with a connection
of its own to the target, and the answers of that go back from the address that was asked. Anybody can forge an address,
so what that costs is bounded: how many there are, what waits for each, and how long one is kept that says nothing more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .connection import Peer, Stream
from .datagrams import Datagram, Datagrams
from .drivers import Driver, LoopDriver
from .errors import BrokenConnection, EndOfStream, UnreachablePeer, Unsupported, raisable
from .forwarding import Forward, Pairs, Work
from .message_relaying import CutStream, MessageRelay, Side, Troubles
from .messages import FACES, Messages
from .opening import open_messages, open_stream, require_openable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from .endpoint import Endpoint
    from .limits import Limits
    from .listener import Listener


class MessageForward(Forward):
    """Forwards messages when awaited, until cancelled: each caller of a listener, each peer of a datagram socket.

    As `Forward`, and: `a_to_b_messages`, `b_to_a_messages`; `refused`: messages that the other side does not take;
    `unreachable`: how often datagrams were said not to have arrived; `dropped`: datagrams that came faster than the
    target took them; `evicted`: peers that had to go for newer ones. The log tells of each, at most every ten seconds.
    `unsent`: datagrams that a full interface of this machine has lost.

    A peer of a datagram socket is one of `connections` until nothing has moved for `Limits.idle_seconds`, or the target
    has ended; its next datagram makes it one again. There are at most `Limits.connections` of them, and at most
    `Limits.unproven_connections` that have not spoken again after an answer: the oldest goes.
    """

    def __init__(
        self, listener: Listener[Any] | Datagrams, target: Endpoint, shape: type[Stream | Messages], cut: str | None
    ) -> None:
        super().__init__(listener, target)  # type: ignore[arg-type]  # a bound socket has what is asked of it
        self._shape = shape
        self._cut = cut

    @property
    def a_to_b_messages(self) -> int:
        """From the callers to the target."""
        return self._count("a_to_b_messages")

    @property
    def b_to_a_messages(self) -> int:
        """From the target to the callers."""
        return self._count("b_to_a_messages")

    @property
    def refused(self) -> int:
        """Messages that were not passed on, because the other side cannot take them."""
        return self._count("refused")

    @property
    def unreachable(self) -> int:
        """How often somebody on the way said that a datagram did not arrive."""
        return self._count("unreachable")

    @property
    def dropped(self) -> int:
        """Datagrams that came faster than the target took them."""
        return self._count("dropped")

    @property
    def unsent(self) -> int:
        """Datagrams, to the target or to a peer, that a full interface of this machine has lost."""
        return self._count("unsent")

    @property
    def evicted(self) -> int:
        """Peers that had to go for newer ones."""
        return self._count("evicted")

    def _count(self, name: str) -> int:
        return int(getattr(self._work, name, 0))

    async def _start(self, driver: Driver) -> Work:
        self._require_unused()
        # An address that cannot be opened is said now, not to every caller.
        await require_openable(self._target, self._shape, driver, self._listener._limits)
        self._work = MessagePairs(self._listener, self._target, self._shape, self._cut)
        return self._work


class MessagePairs(Pairs):
    """Accepts and connects in this loop, and relays each pair here."""

    COUNTS = ("a_to_b_bytes", "b_to_a_bytes", "a_to_b_messages", "b_to_a_messages", "unsent")

    def __init__(self, listener: Any, target: Endpoint, shape: type[Stream | Messages], cut: str | None) -> None:
        self._shape = shape
        self._cut = cut
        self._troubles = Troubles(f"{listener.local} to {target}")
        self._visitors: Visitors | None = None
        self._unsent_before = 0
        if isinstance(listener, Datagrams):
            self._unsent_before = listener.unsent
            self._visitors = Visitors(listener, listener._limits, self._troubles)
        super().__init__(listener, target, listener._limits)

    @property
    def a_to_b_messages(self) -> int:
        return self._carried("a_to_b_messages")

    @property
    def b_to_a_messages(self) -> int:
        return self._carried("b_to_a_messages")

    @property
    def refused(self) -> int:
        return self._troubles.refused

    @property
    def unreachable(self) -> int:
        return self._troubles.unreachable

    @property
    def dropped(self) -> int:
        return self._troubles.dropped

    @property
    def unsent(self) -> int:
        answers = self._visitors.datagrams.unsent - self._unsent_before if self._visitors else 0
        return self._carried("unsent") + answers

    @property
    def evicted(self) -> int:
        return self._visitors.evicted if self._visitors else 0

    def stop(self, grace_seconds: float) -> None:
        super().stop(grace_seconds)
        if self._visitors is not None:
            self._visitors.end()

    def _callers(self) -> AsyncIterator[Any]:
        return super()._callers() if self._visitors is None else self._visitors

    async def _connected(self) -> Side:
        driver = LoopDriver.current()
        if self._shape is Messages:
            messages: Side = await open_messages(FACES, self._target, driver, self._limits)
            return messages
        return self._cut_up(await open_stream(Stream, self._target, driver, self._limits))

    def _relay(self, caller: Any, called: Any) -> MessageRelay:
        caller = self._cut_up(caller)
        return MessageRelay(caller, called, idle_seconds=self._limits.idle_seconds, troubles=self._troubles)

    def _cut_up(self, side: Any) -> Side:
        if self._cut is None or not isinstance(side, Stream):
            messages: Side = side
            return messages
        return CutStream(side, self._cut, self._limits.message_bytes)

    def _broke(self, failure: Exception) -> None:
        if not isinstance(failure, BrokenConnection):
            self._troubles.tell(f"cut short: {failure}", self.broken, "broken")


class Visitors:
    """The peers of a datagram socket, each given out once, as a `Visitor`, when it comes; what it sends later is its.

    Kept in two orders of use: those that have only asked, and those that went on after an answer. The former may be
    forged, so there are fewer of them; the oldest goes, for whoever is honest is answered by then or asks again.
    """

    def __init__(self, datagrams: Datagrams, limits: Limits, troubles: Troubles) -> None:
        self.evicted = 0
        self.datagrams = datagrams
        self.troubles = troubles
        self.waiting_bytes = limits.write_high_bytes
        self._unproven: dict[Key, Visitor] = {}
        self._proven: dict[Key, Visitor] = {}
        self._most = limits.most_connections()
        self._most_unproven = min(limits.unproven_connections, self._most)
        self._new: list[Visitor] = []

    def __aiter__(self) -> AsyncIterator[Visitor]:
        return self

    async def __anext__(self) -> Visitor:
        while not self._new:
            try:
                batch = await self.datagrams.receive_many()
            except UnreachablePeer as failure:
                self.troubles.lost(failure)
                continue
            for datagram in batch:
                self._sort(datagram)
        return self._new.pop(0)

    def end(self) -> None:
        """Nobody says anything more."""
        for visitor in (*self._unproven.values(), *self._proven.values()):
            visitor.end()

    def forget(self, visitor: Visitor) -> None:
        for known in (self._unproven, self._proven):
            if known.get(visitor.key) is visitor:
                del known[visitor.key]

    def _sort(self, datagram: Datagram) -> None:
        if datagram.truncated:
            self.troubles.refuse(f"a datagram of more than {len(datagram):,} bytes from {datagram.peer}")
            return
        key = datagram.peer, datagram.local
        visitor = self._unproven.pop(key, None) or self._proven.pop(key, None)
        if visitor is None:
            visitor = Visitor(self, key)
            self._new.append(visitor)
        (self._proven if visitor.answered else self._unproven)[key] = visitor
        visitor.hear(datagram.data)
        self._make_room()

    def _make_room(self) -> None:
        if len(self._unproven) > self._most_unproven:
            self._evict(self._unproven)
        elif len(self._unproven) + len(self._proven) > self._most:
            self._evict(self._unproven if len(self._unproven) > 1 else self._proven)

    def _evict(self, known: dict[Key, Visitor]) -> None:
        self.evicted += 1
        visitor = known.pop(next(iter(known)))
        self.troubles.tell(f"{visitor.peer.endpoint} had to go for others", self.evicted, "evicted")
        visitor.evict()


class Visitor:
    """One peer of a datagram socket, as a side of a relay."""

    def __init__(self, visitors: Visitors, key: Key) -> None:
        self.key = key
        self.answered = False
        self.sent_messages = 0
        self._visitors = visitors
        self._heard: list[bytes] = []
        self._bytes = 0
        self._news = asyncio.Event()
        self._ended = self._evicted = False

    @property
    def peer(self) -> Peer:
        """The one who asks; without a name (dgram+unix) the socket that it has asked."""
        return Peer(self.key[0] or self._visitors.datagrams.local, None, None)

    @property
    def max_message_bytes(self) -> int:
        return self._visitors.datagrams.max_message_bytes

    def hear(self, message: bytes) -> None:
        """It has said this. Lost, and counted, if too much waits already: the target is slow, or not there yet."""
        if len(self._heard) >= MOST_WAITING or self._bytes + len(message) > self._visitors.waiting_bytes:
            self._visitors.troubles.drop(f"{self.peer.endpoint} sends faster than the target takes")
            return
        self._heard.append(message)
        self._bytes += len(message)
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    def evict(self) -> None:
        self._evicted = True
        self._news.set()

    async def receive_many(self, max_count: int = 64) -> list[bytes]:
        while not self._heard or self._evicted:
            if self._evicted:
                raise raisable(BrokenConnection)("relay", self.peer.endpoint, "it had to go for newer ones")
            if self._ended:
                raise raisable(EndOfStream)("the socket hears nothing more")
            self._news.clear()
            await self._news.wait()
        batch, self._heard = self._heard, []
        self._bytes = 0
        return batch

    async def send_many(self, messages: Sequence[bytes]) -> None:
        """From the address that it has asked, and no more than it may get (docs/limits.md)."""
        peer, local = self.key
        if peer is None:
            for _ in messages:
                self._visitors.troubles.refuse("an answer to who has no name to be answered at")
            return
        await self._visitors.datagrams.send_many([Datagram(message, peer, local) for message in messages])
        self.sent_messages += len(messages)
        self.answered = True

    async def send_eof(self) -> None:
        raise raisable(Unsupported)("send_eof", self.peer.endpoint, "datagrams have no end")

    async def aclose(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Its next datagram is that of a new one."""
        self._visitors.forget(self)


if TYPE_CHECKING:
    Key = tuple[Endpoint | None, Endpoint | None]

# Of one visitor. As many as one call receives: more would only be late.
MOST_WAITING = 64
