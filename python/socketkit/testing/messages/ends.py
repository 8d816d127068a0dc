"""Rules of the end, for the types that can tell it to the peer (DESIGN section 3, rule 1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...errors import BrokenConnection, ClosedConnection, EndOfStream, Unsupported
from ..claims import aclose, claim, end_of, fill, numbered, on_a_pair, raises, receive_one, same, started, turns

if TYPE_CHECKING:
    from ...messages import Messages


@on_a_pair
async def iteration_stops_at_the_end(ours: Messages, theirs: Messages) -> None:
    await ours.send(b"data")
    await ours.send(b"more")
    await ours.send_eof()
    same([message async for message in theirs], [b"data", b"more"], "iterated")
    same([message async for message in theirs], [], "iterated again")


@on_a_pair
async def an_empty_message_is_no_end(ours: Messages, theirs: Messages) -> None:
    for message in (b"", b"data", b""):
        await ours.send(message)
    await ours.send_eof()
    same([message async for message in theirs], [b"", b"data", b""], "iterated")
    with raises(ClosedConnection, "send of an empty message after send_eof"):
        await ours.send(b"")


@on_a_pair
async def the_end_is_told_again_and_again(ours: Messages, theirs: Messages) -> None:
    await ours.send_eof()
    for _ in range(3):
        await end_of(theirs)
        with raises(EndOfStream, "receive_many"):
            await theirs.receive_many()


@on_a_pair
async def a_waiting_receive_is_told_of_the_end(ours: Messages, theirs: Messages) -> None:
    for receive in (receive_one(theirs), theirs.receive_many()):
        waiting = await started(receive)
        await turns(3)
        await ours.send_eof()
        with raises(EndOfStream, "the receive that waited"):
            await waiting


@on_a_pair
async def receive_many_gives_what_came_before_the_end(ours: Messages, theirs: Messages) -> None:
    sent = [numbered(1, number) for number in range(20)]
    await ours.send_many(sent)
    await ours.send_eof()
    got: list[bytes] = []
    while len(got) < len(sent):
        got += await theirs.receive_many()
    same(got, sent, "received before the end")
    with raises(EndOfStream, "receive_many at the end"):
        await theirs.receive_many()


@on_a_pair
async def the_halves_close_independently(ours: Messages, theirs: Messages) -> None:
    await ours.send_eof()
    await end_of(theirs)
    sent = [numbered(100, number) for number in range(200)]

    async def send() -> None:
        for message in sent:
            await theirs.send(message)
        await theirs.send_eof()

    sending = await started(send())
    same([message async for message in ours], sent, "received after our own half was closed")
    await sending
    await end_of(ours)


@on_a_pair
async def send_eof_is_idempotent(ours: Messages, theirs: Messages) -> None:
    for _ in range(3):
        await ours.send_eof()
    await end_of(theirs)


@on_a_pair
async def the_other_half_stays_open(ours: Messages, theirs: Messages) -> None:
    for _ in range(3):
        await ours.send_eof()
    await theirs.send(b"still open")
    await end_of(theirs)
    same(await ours.receive(), b"still open", "received")


@on_a_pair
async def an_end_ends_both_ways(ours: Messages, theirs: Messages) -> None:
    await ours.send(b"last")
    await ours.send_eof()
    same([message async for message in theirs], [b"last"], "received before the end")
    await end_of(ours)
    with raises(BrokenConnection, "send after the peer has ended both ways"):
        await theirs.send(b"too late")


@on_a_pair
async def nothing_is_sent_after_the_end(ours: Messages, theirs: Messages) -> None:
    await ours.send_eof()
    with raises(ClosedConnection, "send after send_eof"):
        await ours.send(b"more")
    with raises(ClosedConnection, "send_many after send_eof"):
        await ours.send_many([b"more"])
    await end_of(theirs)


@on_a_pair
async def a_cancelled_send_eof_is_sent_anyway(ours: Messages, theirs: Messages) -> None:
    message = bytes(min(16_384, ours.max_message_bytes))
    taken, pouring = await fill(ours, message)
    pouring.cancel()
    await asyncio.wait([pouring])
    ending = await started(_send_eof(ours))
    await turns(2)
    ending.cancel()
    await asyncio.wait([ending])
    same(len([message async for message in theirs]), taken, "messages received before the end")


@on_a_pair
async def closing_sends_what_is_queued(ours: Messages, theirs: Messages) -> None:
    """A cancelled aclose() goes on."""
    message = bytes(min(16_384, ours.max_message_bytes))
    taken, pouring = await fill(ours, message)
    pouring.cancel()
    await asyncio.wait([pouring])
    closing = await started(aclose(ours))
    closing.cancel()
    await asyncio.wait([closing])
    claim(ours.closed, "a cancelled aclose() left the connection open")
    same(len([message async for message in theirs]), taken, "messages received from a connection that was closed")
    await end_of(theirs)


@on_a_pair
async def closing_is_an_end(ours: Messages, theirs: Messages) -> None:
    waiting = await started(receive_one(theirs))
    await turns(2)
    await ours.aclose()
    with raises(EndOfStream, "the receive that waited for the one that closed"):
        await waiting


@on_a_pair
async def a_reset_is_no_end(ours: Messages, theirs: Messages) -> None:
    await ours.send(b"before the reset")
    # Unix sockets know a reset only as "closed with unread input".
    await theirs.send(b"unread")
    await turns(3)
    ours.abort()
    same(await theirs.receive(), b"before the reset", "received after the reset")
    for _ in range(3):
        with raises(BrokenConnection, "receive after the reset"):
            await theirs.receive()
    with raises(BrokenConnection, "receive_many after the reset"):
        await theirs.receive_many()
    with raises(BrokenConnection, "iteration after the reset"):
        async for _ in theirs:
            pass
    with raises(BrokenConnection, "send after the reset"):
        for _ in range(3):  # the first may be how the kernel learns of it
            await theirs.send(b"x")
            await asyncio.sleep(0.01)


@on_a_pair
async def a_reset_wakes_whoever_waits(ours: Messages, theirs: Messages) -> None:
    _, pouring = await fill(theirs, bytes(min(16_384, ours.max_message_bytes)))
    receiving = await started(receive_one(theirs))
    ours.abort()
    for task, what in ((pouring, "the send that waited"), (receiving, "the receive that waited")):
        with raises(BrokenConnection, what):
            await task


@on_a_pair
async def send_eof_says_that_there_is_no_end(ours: Messages, theirs: Messages) -> None:
    with raises(Unsupported, "send_eof"):
        await ours.send_eof()
    await ours.send(b"and nothing has happened")
    same(await theirs.receive(), b"and nothing has happened", "received")


async def _send_eof(connection: Messages) -> None:
    await connection.send_eof()


RULES = (
    iteration_stops_at_the_end,
    the_end_is_told_again_and_again,
    a_waiting_receive_is_told_of_the_end,
    receive_many_gives_what_came_before_the_end,
    send_eof_is_idempotent,
    nothing_is_sent_after_the_end,
    a_cancelled_send_eof_is_sent_anyway,
    closing_sends_what_is_queued,
    closing_is_an_end,
    a_reset_is_no_end,
    a_reset_wakes_whoever_waits,
)
RULES_OF_HALVES = (the_halves_close_independently, the_other_half_stays_open)
RULES_WITHOUT_HALVES = (an_end_ends_both_ways,)
RULES_OF_EMPTY_MESSAGES = (an_empty_message_is_no_end,)
RULES_WITHOUT_AN_END = (send_eof_says_that_there_is_no_end,)
