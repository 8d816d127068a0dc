"""The services of `socketkit serve` over messages: for many connections, or for all who reach a bound socket."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..datagrams import Datagram
from ..errors import EndOfStream, UnreachablePeer
from ..hosting import at
from ..messages import Messages
from ..verbs import bind, serve
from .hosting import run_hosted, summary
from .serve import date_and_time
from .units import amount, plural

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..datagrams import Datagrams
    from ..endpoint import Endpoint
    from ..hosting import Hosted, Present
    from ..limits import Limits
    from .hosting import Manner


@dataclass
class Counts:
    """What was served, in messages."""

    received_messages: int = 0
    sent_messages: int = 0


def serve_messages(service: str, url: Endpoint, manner: Manner) -> None:
    """Until something ends it; then it says what it did."""
    counts = Counts()

    async def served(messages: Messages, present: Present) -> None:
        if service == "time":
            await _send(messages, [date_and_time()], present, counts)
            return
        with suppress(EndOfStream):
            while True:
                batch = await messages.receive_many()
                counts.received_messages += len(batch)
                present.count(sum(map(len, batch)), 0)
                if service == "echo":
                    await _send(messages, batch, present, counts)

    def words(hosted: Hosted) -> str:
        first, *more = summary(hosted).split("\n", 1)
        told = f"{plural(counts.received_messages, 'message')} in, {counts.sent_messages:,} out"
        return "\n".join([f"{first}; {told}", *more])

    run_hosted(
        lambda hosted: serve(url, hosted.peers.handled(served, service), Messages),
        at(url),
        manner,
        facts=lambda: asdict(counts),
        words=words,
    )


async def _send(messages: Messages, batch: list[bytes], present: Present, counts: Counts) -> None:
    await messages.send_many(batch)
    counts.sent_messages += len(batch)
    present.count(0, sum(map(len, batch)))


def serve_datagrams(service: str, url: Endpoint, limits: Limits, manner: Manner) -> None:
    """Until something ends it; then it says what it did."""

    @asynccontextmanager
    async def answering(hosted: Hosted) -> AsyncIterator[Datagrams]:
        async with bind(url, limits=limits) as datagrams:
            task = asyncio.create_task(_answer_all(service, datagrams))
            task.add_done_callback(lambda _: hosted.stop("it failed"))
            try:
                yield datagrams
            finally:
                task.cancel()
                await asyncio.wait([task])
                stats = datagrams.stats
                hosted.peers.received_bytes, hosted.peers.sent_bytes = stats["received_bytes"], stats["sent_bytes"]
            if not task.cancelled():
                task.result()

    run_hosted(answering, at(url), manner, words=lambda hosted: _words(hosted.stats))


async def _answer_all(service: str, datagrams: Datagrams) -> None:
    while True:
        with suppress(UnreachablePeer):  # counted, and no reason not to serve the others
            await _answer(service, datagrams)


async def _answer(service: str, datagrams: Datagrams) -> None:
    batch = [datagram for datagram in await datagrams.receive_many() if datagram.peer is not None]
    if service == "echo":
        await datagrams.send_many(batch)
    elif service == "time":
        now = date_and_time()
        await datagrams.send_many([Datagram(now, datagram.peer, datagram.local) for datagram in batch])


def _words(stats: dict[str, int]) -> str:
    lost = "".join(f", {stats[name]:,} {name}" for name in LOSSES if stats[name])
    return (
        f"served {plural(stats['received_messages'], 'message')} ({amount(stats['received_bytes'])}), "
        f"sent {stats['sent_messages']:,} ({amount(stats['sent_bytes'])}){lost}"
    )


LOSSES = ("dropped", "withheld", "unsent", "unreachable")
