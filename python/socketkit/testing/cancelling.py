"""Rules of cancellation: it leaves no trace (DESIGN section 3, rules 3 and 4).

The hard case is a cancellation in the same turn of the loop in which the bytes arrive: whoever hands them over with the
wake-up (a future that carries them) loses them then.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from ..connection import Stream
from ..errors import EndOfStream
from .claims import claim, numbered, on_a_pair, raises, receive_one, same, started, turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Receive = Callable[[Stream], Awaitable[bytes]]


@on_a_pair
async def a_cancellation_as_data_arrives_loses_nothing(ours: Stream, theirs: Stream) -> None:
    """2,000 rounds: the data comes just before the cancellation, or just after it, one turn later or earlier."""
    for number in range(2000):
        await _race(ours, theirs, receive_one, number)


@on_a_pair
async def every_kind_of_receive_is_cancelled_without_loss(ours: Stream, theirs: Stream) -> None:
    kinds: tuple[Receive, ...] = (_iterate, _exactly, _until, _bare, _within)
    for kind in kinds:
        for number in range(120):
            await _race(ours, theirs, kind, number)


@on_a_pair
async def a_task_woken_together_with_its_canceller_loses_nothing(ours: Stream, theirs: Stream) -> None:
    """Both ends get data in one turn; whichever task runs first cancels the other, which is woken already."""
    for number in range(300):
        tasks: list[asyncio.Task[bytes]] = []

        async def receive(stream: Stream, other: int, tasks: list[asyncio.Task[bytes]] = tasks) -> bytes:
            data = await stream.receive()
            tasks[other].cancel()
            return data

        tasks += [asyncio.get_running_loop().create_task(receive(*pair)) for pair in ((ours, 1), (theirs, 0))]
        await turns(2)
        data = numbered(1, number)
        await ours.send(data)
        await theirs.send(data)
        await asyncio.wait(tasks)
        for task, stream in zip(tasks, (ours, theirs), strict=True):
            got = await stream.receive() if task.cancelled() else task.result()
            same(got, data, f"round {number}, {task}")


@on_a_pair
async def a_receive_in_pieces_is_cancelled_without_loss(ours: Stream, theirs: Stream) -> None:
    """Cancelled in the middle of a message: its first part is still there."""
    for number in range(100):
        message = numbered(4, number) + b"\n\n"
        waiting = await started(_until(theirs, b"\n\n") if number % 2 else _exactly(theirs, len(message)))
        await ours.send(message[:20])
        await turns(number % 5)
        waiting.cancel()
        await asyncio.wait([waiting])
        claim(waiting.cancelled(), f"round {number}: not cancelled but {waiting}")
        await ours.send(message[20:])
        same(await theirs.receive_exactly(len(message)), message, f"round {number}")


@on_a_pair
async def timeouts_lose_nothing(ours: Stream, theirs: Stream) -> None:
    """A flood is received under time limits of every length, none at all included."""
    chance = random.Random(3)
    data = numbered(40_000)
    sending = await started(_send_slowly(ours, data, chance))
    got, late = bytearray(), 0
    with raises(EndOfStream, "the end"):
        while True:
            try:
                got += await _receive_in_time(theirs, chance)
            except TimeoutError:
                late += 1
    await sending
    same(bytes(got), data, "all that was received")
    claim(late > 20, f"only {late} time limits passed: the rule tests nothing")


@on_a_pair
async def a_time_limit_of_nothing_takes_nothing(ours: Stream, theirs: Stream) -> None:
    for _ in range(10):
        with raises(TimeoutError, "asyncio.timeout(0) around a receive that must wait"):
            async with asyncio.timeout(0):
                await theirs.receive()
    await ours.send(b"x")
    await turns(3)
    got = b""
    try:
        async with asyncio.timeout(0):
            got = await theirs.receive()
            await asyncio.sleep(1)
    except TimeoutError:
        pass
    same(got or await theirs.receive(), b"x", "received under a time limit that had passed, or after it")


@on_a_pair
async def a_cancelled_message_is_delivered(ours: Stream, theirs: Stream) -> None:
    """The text given to cancel() reaches the task, as with asyncio's own futures."""
    waiting = await started(receive_one(theirs))
    waiting.cancel("because")
    try:
        await waiting
    except asyncio.CancelledError as cancelled:
        same(cancelled.args, ("because",), "the cancellation's arguments")


@on_a_pair
async def a_refused_cancellation_changes_nothing(ours: Stream, theirs: Stream) -> None:
    """A task that catches its cancellation receives on."""

    async def stubborn() -> bytes:
        try:
            return await theirs.receive()
        except asyncio.CancelledError:
            return await theirs.receive()

    for number in range(50):
        waiting = await started(stubborn())
        if number % 2:
            await ours.send(numbered(1, number))
        waiting.cancel()
        await turns(number % 3)
        if not number % 2:
            await ours.send(numbered(1, number))
        same(await waiting, numbered(1, number), f"round {number}")


@on_a_pair
async def a_shielded_receive_goes_on(ours: Stream, theirs: Stream) -> None:
    inner = asyncio.ensure_future(receive_one(theirs))
    outer = asyncio.ensure_future(asyncio.shield(inner))
    await turns(2)
    outer.cancel()
    await asyncio.wait([outer])
    await ours.send(b"for the inner one")
    same(await inner, b"for the inner one", "received")


async def _race(ours: Stream, theirs: Stream, receive: Receive, number: int) -> None:
    """A receive, a send and a cancellation within a turn or two of one another; the message is there, once."""
    data = numbered(1, number) + b"\n"
    waiting = asyncio.get_running_loop().create_task(_alone(receive, theirs))
    await turns(1 + number % 3)
    if number % 2:
        await ours.send(data)
        await turns(number // 2 % 3)
        waiting.cancel()
    else:
        waiting.cancel()
        await turns(number // 2 % 2)
        await ours.send(data)
    await asyncio.wait([waiting])
    got = b"" if waiting.cancelled() else waiting.result()
    if not got:
        got = await asyncio.wait_for(theirs.receive_exactly(9), 5)
    same(got, data, f"round {number}")


async def _alone(receive: Receive, stream: Stream) -> bytes:
    return await receive(stream)


async def _iterate(stream: Stream) -> bytes:
    async for chunk in stream:
        return chunk
    return b""


async def _exactly(stream: Stream, count: int = 9) -> bytes:
    return await stream.receive_exactly(count)


async def _until(stream: Stream, delimiter: bytes = b"\n") -> bytes:
    return await stream.receive_until(delimiter)


async def _bare(stream: Stream) -> bytes:
    """A receive that is a task's whole work."""
    inner = asyncio.get_running_loop().create_task(stream.receive())
    try:
        return await inner
    except asyncio.CancelledError:
        # It may have had its data before the cancellation came to it.
        return b"" if inner.cancelled() or not inner.done() else inner.result()


async def _within(stream: Stream) -> bytes:
    return await asyncio.wait_for(stream.receive(), 60)


async def _receive_in_time(stream: Stream, chance: random.Random) -> bytes:
    seconds = chance.choice((0, 0, 0.0002, 0.001))
    size = chance.randint(1, 3000)
    match chance.randrange(3):
        case 0:
            async with asyncio.timeout(seconds):
                return await stream.receive(size)
        case 1:
            return await asyncio.wait_for(stream.receive(size), seconds)
        case _:
            async with asyncio.timeout(seconds):
                return await stream.receive_exactly(8)


async def _send_slowly(stream: Stream, data: bytes, chance: random.Random) -> None:
    at = 0
    while at < len(data):
        # Whole numbers, so that the receiver of exactly eight bytes never waits for the rest in vain at the end.
        size = 8 * chance.randint(1, 200)
        await stream.send(data[at : at + size])
        at += size
        await asyncio.sleep(chance.choice((0, 0, 0.0005)))
    await stream.send_eof()


RULES = (
    a_cancellation_as_data_arrives_loses_nothing,
    every_kind_of_receive_is_cancelled_without_loss,
    a_task_woken_together_with_its_canceller_loses_nothing,
    a_receive_in_pieces_is_cancelled_without_loss,
    timeouts_lose_nothing,
    a_time_limit_of_nothing_takes_nothing,
    a_cancelled_message_is_delivered,
    a_refused_cancellation_changes_nothing,
    a_shielded_receive_goes_on,
)
