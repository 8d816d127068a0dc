"""The services of `socketkit serve` over messages: for many connections, or for all who reach a bound socket."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from ..datagrams import Datagram
from ..errors import EndOfStream, UnreachablePeer
from ..messages import Messages
from ..verbs import bind, serve
from .serve import Tally, date_and_time
from .units import amount, plural

if TYPE_CHECKING:
    from ..datagrams import Datagrams
    from ..endpoint import Endpoint
    from ..limits import Limits


@dataclass
class MessageTally(Tally):
    """What was served, in messages too."""

    received_messages: int = 0
    sent_messages: int = 0

    def __str__(self) -> str:
        first, *more = super().__str__().split("\n", 1)
        counts = f"{plural(self.received_messages, 'message')} in, {self.sent_messages:,} out"
        return "\n".join([f"{first}; {counts}", *more])


async def serve_messages(service: str, url: Endpoint, *, as_json: bool) -> None:
    """Until it is cancelled; at the end it says what it did."""
    tally = MessageTally()

    async def counted(messages: Messages) -> None:
        tally.connections += 1
        try:
            if service == "time":
                await _send(messages, [date_and_time()], tally)
                return
            while True:
                batch = await messages.receive_many()
                tally.received_messages += len(batch)
                tally.received_bytes += sum(map(len, batch))
                if service == "echo":
                    await _send(messages, batch, tally)
        except EndOfStream:
            pass

    try:
        async with serve(url, counted, Messages) as server:
            tally.endpoint = str(server.local)
            click.echo(f"listening on {server.local}", err=True)
            await asyncio.get_running_loop().create_future()
    finally:
        if tally.endpoint:
            tally.stats = server.stats
            click.echo(json.dumps(asdict(tally)) if as_json else str(tally), err=not as_json)


async def _send(messages: Messages, batch: list[bytes], tally: MessageTally) -> None:
    await messages.send_many(batch)
    tally.sent_messages += len(batch)
    tally.sent_bytes += sum(map(len, batch))


async def serve_datagrams(service: str, url: Endpoint, limits: Limits, *, as_json: bool) -> None:
    """Until it is cancelled; at the end it says what it did."""
    async with bind(url, limits=limits) as datagrams:
        local = str(datagrams.local)
        click.echo(f"listening on {local}", err=True)
        try:
            while True:
                with suppress(UnreachablePeer):  # counted, and no reason not to serve the others
                    await _answer(service, datagrams)
        finally:
            stats = datagrams.stats
            if as_json:
                click.echo(json.dumps({"endpoint": local, **stats}))
            else:
                click.echo(_words(stats), err=True)


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
