"""Messages as `join` knows a stream: bytes in, which are cut into messages; messages out, which are put into bytes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from ..cutting import CUTS
from ..datagrams import Datagram
from ..errors import EndOfStream, UnreachablePeer, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..datagrams import Datagrams
    from ..endpoint import Endpoint
    from ..messages import Messages


class Patience:
    """Waits for what comes, and for no longer than `seconds` of silence once it is told to."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._begun = False
        self._limit: asyncio.Timeout | None = None

    def begin(self) -> None:
        """From now on silence is an end."""
        self._begun = self._seconds is not None
        if self._limit is not None:
            self._limit.reschedule(self._until())

    async def receive(self, source: Messages | Datagrams) -> list[bytes | Datagram]:
        """At least one; EndOfStream after the silence."""
        try:
            async with asyncio.timeout_at(self._until()) as self._limit:
                batch: list[bytes | Datagram] = await source.receive_many()  # type: ignore[assignment]
                return batch
        except TimeoutError:
            raise EndOfStream("nothing more came") from None
        finally:
            self._limit = None

    def _until(self) -> float | None:
        if not self._begun or self._seconds is None:
            return None
        return asyncio.get_running_loop().time() + self._seconds


class MessageBytes:
    """A connection of messages. Where it knows no end, the input's end and so many seconds of silence are one."""

    def __init__(self, messages: Messages, cut: str, wait_seconds: float) -> None:
        self._messages = messages
        self._cut = CUTS[cut](messages.max_message_bytes)
        self._joined = CUTS[cut](0).joined
        self._patience = Patience(wait_seconds)
        self.sent_bytes = self.received_bytes = 0

    async def send(self, chunk: bytes) -> None:
        """Raises MessageTooLarge when what came before it is sent."""
        await self._send(self._cut.feed(chunk))

    async def send_eof(self) -> None:
        await self._send(self._cut.end())
        try:
            await self._messages.send_eof()
        except Unsupported:
            self._patience.begin()

    async def receive(self, max_bytes: int) -> bytes:
        batch: list[bytes] = await self._patience.receive(self._messages)  # type: ignore[assignment]
        self.received_bytes += sum(map(len, batch))
        return self._joined(batch)

    async def aclose(self) -> None:
        await self._messages.aclose()

    def abort(self) -> None:
        self._messages.abort()

    async def _send(self, messages: list[bytes]) -> None:
        for at in range(0, len(messages), BATCH):
            batch = messages[at : at + BATCH]
            await self._messages.send_many(batch)
            self.sent_bytes += sum(map(len, batch))
        if self._cut.fault is not None:
            raise self._cut.fault


class DatagramBytes:
    """A bound socket, which hears from anybody; what is sent goes to who spoke last, once somebody has.

    `named`: each message is shown behind its peer as soon as there are two of them. `trusted` says whose address needs
    no proof before he is answered at length. `wait_seconds`: so much silence is the end, from the first message on.
    """

    def __init__(
        self,
        datagrams: Datagrams,
        cut: str,
        *,
        echo: bool = False,
        named: bool = False,
        trusted: Callable[[Endpoint], bool] = lambda peer: False,
        wait_seconds: float | None = None,
    ) -> None:
        self._datagrams = datagrams
        self._cut = CUTS[cut](datagrams.max_message_bytes)
        self._joined = CUTS[cut](0).joined
        self._echo = echo
        self._named = named
        self._trusted = trusted
        self._patience = Patience(wait_seconds)
        self._last: Datagram | None = None
        self._peers = 0
        self._somebody = asyncio.Event()
        self.sent_bytes = self.received_bytes = 0

    async def send(self, chunk: bytes) -> None:
        await self._send(self._cut.feed(chunk))

    async def send_eof(self) -> None:
        await self._send(self._cut.end())

    async def receive(self, max_bytes: int) -> bytes:
        while True:
            try:
                batch: list[Datagram] = await self._patience.receive(self._datagrams)  # type: ignore[assignment]
                break
            except UnreachablePeer as failure:
                click.echo(f"socketkit: {failure}", err=True)  # others may still come
        self._patience.begin()
        shown = [self._heard(datagram) for datagram in batch]
        if self._echo:
            answers = [datagram for datagram in batch if datagram.peer is not None]
            await self._datagrams.send_many(answers)
            self.sent_bytes += sum(map(len, answers))
        return b"".join(shown)

    async def aclose(self) -> None:
        await self._datagrams.aclose()

    def abort(self) -> None:
        self._datagrams.abort()

    def _heard(self, datagram: Datagram) -> bytes:
        self.received_bytes += len(datagram)
        peer = datagram.peer
        if datagram.truncated:
            click.echo(f"socketkit: a datagram from {peer} was longer than its {len(datagram):,} bytes here", err=True)
        if self._peers < 2 and (self._last is None or peer != self._last.peer):
            self._peers += 1
            again = "" if self._peers == 1 or self._echo else "; answers go to who spoke last"
            click.echo(f"messages from {peer or 'somebody without a name'}{again}", err=True)
        if peer is not None:
            if (self._last is None or peer != self._last.peer) and self._trusted(peer):
                self._datagrams.validate(peer)
            self._somebody.set()
        self._last = datagram
        front = f"{peer}: ".encode() if self._named and self._peers > 1 else b""
        return front + self._joined([datagram.data])

    async def _send(self, messages: list[bytes]) -> None:
        for at in range(0, len(messages), BATCH):
            await self._somebody.wait()
            last = self._last
            if last is None or last.peer is None:
                raise UnreachablePeer("send", None, "who spoke last has no name to be answered at")
            batch = messages[at : at + BATCH]
            await self._datagrams.send_many([Datagram(message, last.peer, last.local) for message in batch])
            self.sent_bytes += sum(map(len, batch))
        if self._cut.fault is not None:
            raise self._cut.fault


class NoInput:
    """For a command that reads none."""

    terminal = False
    ended = True
    silent_seconds = float("inf")

    async def receive(self) -> bytes:
        return b""


# Of one call: more would keep the other direction waiting.
BATCH = 64
