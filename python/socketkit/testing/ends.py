"""Rules of the end: end, half-close, closing, reset (DESIGN section 3, rule 1)."""

from __future__ import annotations

import asyncio
import time

from ..connection import Stream
from ..errors import BrokenConnection, ClosedConnection, EndOfStream
from .claims import (
    aclose,
    all_of,
    claim,
    end_of,
    fill,
    numbered,
    on_a_pair,
    raises,
    receive_one,
    same,
    started,
    turns,
    until,
)


@on_a_pair
async def iteration_stops_at_the_end(ours: Stream, theirs: Stream) -> None:
    await ours.send(b"data")
    await ours.send_eof()
    same([chunk async for chunk in theirs], [b"data"], "iterated")
    same([chunk async for chunk in theirs], [], "iterated again")


@on_a_pair
async def the_end_is_told_again_and_again(ours: Stream, theirs: Stream) -> None:
    await ours.send_eof()
    for _ in range(3):
        await end_of(theirs)
        with raises(EndOfStream, "receive_exactly"):
            await theirs.receive_exactly(1)
        with raises(EndOfStream, "receive_until"):
            await theirs.receive_until(b"\n")


@on_a_pair
async def a_waiting_receive_is_told_of_the_end(ours: Stream, theirs: Stream) -> None:
    waiting = await started(receive_one(theirs))
    await turns(3)
    await ours.send_eof()
    with raises(EndOfStream, "the receive that waited"):
        await waiting


@on_a_pair
async def an_empty_message_is_no_end(ours: Stream, theirs: Stream) -> None:
    for nothing in (b"", bytearray(), memoryview(b"")):
        await ours.send(nothing)
    waiting = await started(receive_one(theirs))
    await turns(3)
    claim(not waiting.done(), f"an empty send woke the receiver: {waiting}")
    await ours.send(b"")
    await ours.send(b"x")
    await ours.send(b"")
    same(await waiting, b"x", "received")
    await ours.send_eof()
    await end_of(theirs)


@on_a_pair
async def the_halves_close_independently(ours: Stream, theirs: Stream) -> None:
    data = numbered(200_000)
    await ours.send_eof()
    await end_of(theirs)
    sending = await started(_send_and_end(theirs, data))
    same(await all_of(ours), data, "received after our own half was closed")
    await sending
    await end_of(ours)


@on_a_pair
async def the_end_comes_behind_what_was_sent(ours: Stream, theirs: Stream) -> None:
    data = numbered(500_000)
    sending = await started(_send_and_end(ours, data))
    same(await all_of(theirs), data, "received before the end")
    await sending


@on_a_pair
async def send_eof_is_idempotent(ours: Stream, theirs: Stream) -> None:
    for _ in range(3):
        await ours.send_eof()
    await end_of(theirs)
    await theirs.send(b"still open")
    same(await ours.receive(), b"still open", "received")


@on_a_pair
async def nothing_is_sent_after_the_end(ours: Stream, theirs: Stream) -> None:
    await ours.send_eof()
    for data in (b"more", b""):
        with raises(ClosedConnection, "send after send_eof"):
            await ours.send(data)
    await end_of(theirs)


@on_a_pair
async def a_cancelled_send_eof_is_sent_anyway(ours: Stream, theirs: Stream) -> None:
    taken, pouring = await fill(ours)
    pouring.cancel()
    await asyncio.wait([pouring])
    ending = await started(_eof(ours))
    await turns(2)
    claim(not ending.done(), "send_eof() returned before what was queued was sent")
    ending.cancel()
    await asyncio.wait([ending])
    claim(ending.cancelled(), f"cancelled, but {ending}")
    same(len(await all_of(theirs)), taken * 65_536, "bytes received before the end")


@on_a_pair
async def closing_sends_what_is_queued(ours: Stream, theirs: Stream) -> None:
    data = numbered(500_000)
    await ours.send(data)
    closing = await started(aclose(ours))
    same(await all_of(theirs), data, "received from a connection that was closed")
    await closing
    await end_of(theirs)


@on_a_pair
async def a_cancelled_close_goes_on(ours: Stream, theirs: Stream) -> None:
    data = numbered(500_000)
    await ours.send(data)
    closing = await started(aclose(ours))
    claim(not closing.done(), "aclose() returned before what was queued was sent")
    closing.cancel()
    await asyncio.wait([closing])
    claim(ours.closed, "a cancelled aclose() left the connection open")
    same(await all_of(theirs), data, "received after aclose() was cancelled")


@on_a_pair
async def closing_with_unread_input_is_an_end(ours: Stream, theirs: Stream) -> None:
    await theirs.send(numbered(1000))
    await ours.send(b"goodbye")
    await ours.aclose()
    # The kernel resets a connection that is closed with unread input, which destroys what the peer has not read yet.
    same(await all_of(theirs), b"goodbye", "received from a peer that closed without reading")


@on_a_pair
async def closing_is_idempotent(ours: Stream, theirs: Stream) -> None:
    await asyncio.gather(*[aclose(ours) for _ in range(3)])
    await ours.aclose()
    ours.abort()
    ours.abort()
    await ours.aclose()
    claim(ours.closed, "closed and yet not `closed`")
    await end_of(theirs)


@on_a_pair
async def a_closed_connection_says_so(ours: Stream, theirs: Stream) -> None:
    await theirs.send(b"unread")
    await ours.aclose()
    with raises(ClosedConnection, "receive"):
        await ours.receive()
    with raises(ClosedConnection, "receive_exactly"):
        await ours.receive_exactly(1)
    with raises(ClosedConnection, "receive_until"):
        await ours.receive_until(b"\n")
    with raises(ClosedConnection, "send"):
        await ours.send(b"x")
    with raises(ClosedConnection, "send_eof"):
        await ours.send_eof()
    with raises(ClosedConnection, "iteration"):
        async for _ in ours:
            pass
    with raises(ClosedConnection, "fileno"):
        ours.fileno()
    same(repr(ours).endswith("closed>"), True, f"repr {ours!r} tells that it is closed")


@on_a_pair
async def closing_is_bounded(ours: Stream, theirs: Stream) -> None:
    _, pouring = await fill(ours)
    pouring.cancel()
    await asyncio.wait([pouring])
    begun = time.monotonic()
    # The bound is the pair's Limits.close_seconds, which a rule does not know: the default is five.
    await asyncio.wait_for(ours.aclose(), 6)
    claim(time.monotonic() - begun < 6, "aclose() took longer than Limits.close_seconds")


@on_a_pair
async def a_reset_is_no_end(ours: Stream, theirs: Stream) -> None:
    await ours.send(b"before the reset")
    # Unix sockets know a reset only as "closed with unread input".
    await theirs.send(b"unread")
    ours.abort()
    same(await theirs.receive_exactly(16), b"before the reset", "received after the reset")
    for _ in range(3):
        with raises(BrokenConnection, "receive after the reset"):
            await theirs.receive()
    with raises(BrokenConnection, "send after the reset"):
        await theirs.send(b"x")
        await until(lambda: False)
    with raises(BrokenConnection, "iteration after the reset"):
        async for _ in theirs:
            pass


@on_a_pair
async def a_reset_leaves_what_arrived(ours: Stream, theirs: Stream) -> None:
    await ours.send(b"12345")
    await theirs.send(b"unread")
    waiting = await started(_exactly(theirs, 10))
    await turns(3)
    ours.abort()
    with raises(BrokenConnection, "receive_exactly in the middle of which the peer reset"):
        await waiting
    same(await theirs.receive(), b"12345", "what had arrived")
    with raises(BrokenConnection, "receive"):
        await theirs.receive()


@on_a_pair
async def a_reset_wakes_whoever_waits(ours: Stream, theirs: Stream) -> None:
    _, pouring = await fill(theirs)
    receiving = await started(receive_one(theirs))
    ours.abort()
    for task, what in ((pouring, "the send that waited"), (receiving, "the receive that waited")):
        with raises(BrokenConnection, what):
            await task
    with raises(BrokenConnection, "send again"):
        await theirs.send(b"x")


@on_a_pair
async def closing_wakes_whoever_waits(ours: Stream, theirs: Stream) -> None:
    there, here = await started(receive_one(theirs)), await started(receive_one(ours))
    await turns(2)
    await ours.aclose()
    with raises(ClosedConnection, "the receive that waited while its connection was closed"):
        await here
    with raises(EndOfStream, "the receive that waited for the one that closed"):
        await there


@on_a_pair
async def aborting_wakes_whoever_waits(ours: Stream, theirs: Stream) -> None:
    _, pouring = await fill(ours)
    receiving, another = await started(receive_one(ours)), await started(ours.send(b"another"))
    ours.abort()
    for task, what in ((pouring, "send"), (another, "second send"), (receiving, "receive")):
        with raises(ClosedConnection, f"the {what} that waited when its connection was aborted"):
            await task


async def _send_and_end(stream: Stream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()


async def _eof(stream: Stream) -> None:
    await stream.send_eof()


async def _exactly(stream: Stream, count: int) -> bytes:
    return await stream.receive_exactly(count)


RULES = (
    iteration_stops_at_the_end,
    the_end_is_told_again_and_again,
    a_waiting_receive_is_told_of_the_end,
    an_empty_message_is_no_end,
    the_halves_close_independently,
    the_end_comes_behind_what_was_sent,
    send_eof_is_idempotent,
    nothing_is_sent_after_the_end,
    a_cancelled_send_eof_is_sent_anyway,
    closing_sends_what_is_queued,
    a_cancelled_close_goes_on,
    closing_with_unread_input_is_an_end,
    closing_is_idempotent,
    a_closed_connection_says_so,
    closing_is_bounded,
    a_reset_is_no_end,
    a_reset_leaves_what_arrived,
    a_reset_wakes_whoever_waits,
    closing_wakes_whoever_waits,
    aborting_wakes_whoever_waits,
)
