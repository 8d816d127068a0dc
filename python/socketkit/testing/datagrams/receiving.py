"""Rules of receiving datagrams: what is cut is told, one task receives, a cancellation leaves no trace."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from ...errors import BusyConnection, ClosedConnection
from ..claims import claim, numbered, on_a_pair, raises, same, started, turns
from .exchange import BURST, data_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...datagrams import Datagram, Datagrams

    Receive = Callable[[Datagrams], Awaitable[list[Datagram]]]


@on_a_pair
async def what_is_cut_says_so(ours: Datagrams, theirs: Datagrams) -> None:
    """Also of those that came in one batch with an earlier one."""
    for wanted, max_bytes in ((b"abc", 3), (b"a", 1), (b"abcdef", 6), (b"abcdef", 7)):
        await ours.send(b"abcdef", theirs.local)
        datagram = await theirs.receive(max_bytes)
        same((datagram.data, datagram.truncated), (wanted, len(wanted) < 6), f"receive({max_bytes}) of six bytes")
    await ours.send_many([b"first", b"second", b"third"], theirs.local)
    first, second, third = await theirs.receive(), await theirs.receive(max_bytes=4), await theirs.receive()
    same([first.data, second.data, third.data], [b"first", b"seco", b"third"], "received")
    same([first.truncated, second.truncated, third.truncated], [False, True, False], "truncated")


@on_a_pair
async def receive_many_gives_what_is_there(ours: Datagrams, theirs: Datagrams) -> None:
    waiting = await started(theirs.receive_many())
    await turns(3)
    claim(not waiting.done(), "receive_many() gave nothing, and yet it ended")
    await ours.send(b"first", theirs.local)
    same([datagram.data for datagram in await waiting], [b"first"], "receive_many() that waited")
    sent = [numbered(1, number) for number in range(BURST)]
    await ours.send_many(sent, theirs.local)
    same([datagram.data for datagram in await theirs.receive_many(1)], sent[:1], "receive_many(1)")
    some = await theirs.receive_many(max_count=3)
    claim(1 <= len(some) <= 3, f"receive_many(3) gave {len(some)} datagrams")
    same([datagram.data for datagram in some], sent[1 : 1 + len(some)], "the next")
    same(await data_of(theirs, BURST - 1 - len(some)), sent[1 + len(some) :], "the rest")
    with raises(ValueError, "receive_many(0)"):
        await theirs.receive_many(0)


@on_a_pair
async def iteration_gives_one_after_the_other(ours: Datagrams, theirs: Datagrams) -> None:
    await ours.send_many([b"1", b"2", b"3"], theirs.local)
    got = []
    async for datagram in theirs:
        got.append(datagram.data)
        if len(got) == 3:
            break
    same(got, [b"1", b"2", b"3"], "iterated")


@on_a_pair
async def a_second_receiver_is_refused(ours: Datagrams, theirs: Datagrams) -> None:
    first = await started(theirs.receive())
    with raises(BusyConnection, "receive while another task receives"):
        await theirs.receive()
    with raises(BusyConnection, "receive_many while another task receives"):
        await theirs.receive_many()
    with raises(BusyConnection, "iteration while another task receives"):
        async for _ in theirs:
            pass
    await ours.send(b"for the first", theirs.local)
    same((await first).data, b"for the first", "the first receiver's")


@on_a_pair
async def closing_wakes_whoever_waits(ours: Datagrams, theirs: Datagrams) -> None:
    for socket, close in ((ours, ours.aclose), (theirs, theirs.abort)):
        waiting = await started(socket.receive())
        await turns(2)
        closing = close()
        if closing is not None:
            await closing
        with raises(ClosedConnection, "the receive that waited while its socket was closed"):
            await waiting


@on_a_pair
async def a_cancellation_as_a_datagram_arrives_loses_nothing(ours: Datagrams, theirs: Datagrams) -> None:
    """The datagrams come just before the cancellation, or just after it, one turn later or earlier."""
    for number in range(600):
        kind = (_one, _many, _bare)[number // 6 % 3]
        batch = [numbered(1, 10 * number + index) for index in range(1 + number % 5)]
        await _race(ours, theirs, kind, batch, number)


@on_a_pair
async def timeouts_lose_nothing(ours: Datagrams, theirs: Datagrams) -> None:
    chance = random.Random(4)
    sent = [numbered(1, number) for number in range(1000)]

    async def send_slowly() -> None:
        for at in range(0, len(sent), 10):
            await ours.send_many(sent[at : at + 10], theirs.local)
            await asyncio.sleep(chance.choice((0, 0.0005, 0.001)))

    sending = await started(send_slowly())
    got: list[bytes] = []
    late = 0
    while len(got) < len(sent):
        try:
            async with asyncio.timeout(chance.choice((0, 0, 0.0002, 0.001))):
                got += [datagram.data for datagram in await theirs.receive_many(chance.randint(1, 20))]
        except TimeoutError:
            late += 1
    await sending
    same(got, sent, "all that was received")
    claim(late > 20, f"only {late} time limits passed: the rule tests nothing")


async def _race(ours: Datagrams, theirs: Datagrams, receive: Receive, batch: list[bytes], number: int) -> None:
    """A receive, a send and a cancellation within a turn or two of one another; all are there, once."""
    waiting = asyncio.ensure_future(receive(theirs))
    await turns(1 + number % 3)
    if number % 2:
        await ours.send_many(batch, theirs.local)
        await turns(number // 2 % 3)
        waiting.cancel()
    else:
        waiting.cancel()
        await turns(number // 2 % 2)
        await ours.send_many(batch, theirs.local)
    await asyncio.wait([waiting])
    got = [] if waiting.cancelled() else [datagram.data for datagram in waiting.result()]
    while len(got) < len(batch):
        got.append((await asyncio.wait_for(theirs.receive(), 5)).data)
    same(got, batch, f"round {number}")


async def _one(socket: Datagrams) -> list[Datagram]:
    return [await socket.receive()]


async def _many(socket: Datagrams) -> list[Datagram]:
    return await socket.receive_many()


async def _bare(socket: Datagrams) -> list[Datagram]:
    """A receive that is a task's whole work."""
    inner = asyncio.ensure_future(socket.receive_many())
    try:
        return await inner
    except asyncio.CancelledError:
        # It may have had its datagrams before the cancellation came to it.
        return [] if inner.cancelled() or not inner.done() else inner.result()


RULES = (
    what_is_cut_says_so,
    receive_many_gives_what_is_there,
    iteration_gives_one_after_the_other,
    a_second_receiver_is_refused,
    closing_wakes_whoever_waits,
    a_cancellation_as_a_datagram_arrives_loses_nothing,
    timeouts_lose_nothing,
)
