"""Rules of cancellation: it leaves no trace (DESIGN section 3, rules 3 and 4).

The hard case is a cancellation in the same turn of the loop in which the message arrives: whoever hands it over with
the wake-up (a future that carries it) loses it then. A batch is harder still: none of it may be lost.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from ..claims import claim, numbered, on_a_pair, raises, receive_one, same, started, turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...messages import Messages

    Receive = Callable[[Messages], Awaitable[list[bytes]]]


@on_a_pair
async def a_cancellation_as_a_message_arrives_loses_nothing(ours: Messages, theirs: Messages) -> None:
    """The message comes just before the cancellation, or just after it, one turn later or earlier."""
    for number in range(800):
        await _race(ours, theirs, _one, [numbered(1, number)], number)


@on_a_pair
async def a_cancellation_as_a_batch_arrives_loses_nothing(ours: Messages, theirs: Messages) -> None:
    """Neither the first of it nor the last."""
    for number in range(200):
        batch = [numbered(1, 10 * number + index) for index in range(1 + number % 9)]
        await _race(ours, theirs, _many, batch, number)


@on_a_pair
async def every_kind_of_receive_is_cancelled_without_loss(ours: Messages, theirs: Messages) -> None:
    kinds: tuple[Receive, ...] = (_iterate, _bare, _within, _few)
    for kind in kinds:
        for number in range(60):
            await _race(ours, theirs, kind, [numbered(1, number), b"x"][: 1 + number % 2], number)


@on_a_pair
async def a_task_woken_together_with_its_canceller_loses_nothing(ours: Messages, theirs: Messages) -> None:
    """Both ends get a message in one turn; whichever task runs first cancels the other, which is woken already."""
    for number in range(200):
        tasks: list[asyncio.Task[bytes]] = []

        async def receive(connection: Messages, other: int, tasks: list[asyncio.Task[bytes]] = tasks) -> bytes:
            message = await connection.receive()
            tasks[other].cancel()
            return message

        tasks += [asyncio.get_running_loop().create_task(receive(*pair)) for pair in ((ours, 1), (theirs, 0))]
        await turns(2)
        message = numbered(1, number)
        await ours.send(message)
        await theirs.send(message)
        await asyncio.wait(tasks)
        for task, connection in zip(tasks, (ours, theirs), strict=True):
            got = await connection.receive() if task.cancelled() else task.result()
            same(got, message, f"round {number}, {task}")


@on_a_pair
async def timeouts_lose_nothing(ours: Messages, theirs: Messages) -> None:
    """A flow is received under time limits of every length, none at all included."""
    chance = random.Random(3)
    sent = [numbered(1, number) for number in range(1500)]
    sending = await started(_send_slowly(ours, sent, chance))
    got: list[bytes] = []
    late = 0
    while len(got) < len(sent):
        try:
            got += await _receive_in_time(theirs, chance)
        except TimeoutError:
            late += 1
    await sending
    same(got, sent, "all that was received")
    claim(late > 20, f"only {late} time limits passed: the rule tests nothing")


@on_a_pair
async def a_time_limit_of_nothing_takes_nothing(ours: Messages, theirs: Messages) -> None:
    for receive in (theirs.receive, theirs.receive_many):
        with raises(TimeoutError, "asyncio.timeout(0) around a receive that must wait"):
            async with asyncio.timeout(0):
                await receive()
    await ours.send(b"x")
    await turns(3)
    got: list[bytes] = []
    try:
        async with asyncio.timeout(0):
            got.append(await theirs.receive())
            await asyncio.sleep(1)
    except TimeoutError:
        pass
    same(got or [await theirs.receive()], [b"x"], "received under a time limit that had passed, or after it")


@on_a_pair
async def a_cancelled_message_is_delivered(ours: Messages, theirs: Messages) -> None:
    """The text given to cancel() reaches the task, as with asyncio's own futures."""
    waiting = await started(receive_one(theirs))
    waiting.cancel("because")
    try:
        await waiting
    except asyncio.CancelledError as cancelled:
        same(cancelled.args, ("because",), "the cancellation's arguments")


@on_a_pair
async def a_refused_cancellation_changes_nothing(ours: Messages, theirs: Messages) -> None:
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


async def _race(ours: Messages, theirs: Messages, receive: Receive, batch: list[bytes], number: int) -> None:
    """A receive, a send and a cancellation within a turn or two of one another; all messages are there, once."""
    waiting = asyncio.get_running_loop().create_task(_alone(receive, theirs))
    await turns(1 + number % 3)
    if number % 2:
        await ours.send_many(batch)
        await turns(number // 2 % 3)
        waiting.cancel()
    else:
        waiting.cancel()
        await turns(number // 2 % 2)
        await ours.send_many(batch)
    await asyncio.wait([waiting])
    got = [] if waiting.cancelled() else waiting.result()
    while len(got) < len(batch):
        got.append(await asyncio.wait_for(theirs.receive(), 5))
    same(got, batch, f"round {number}")


async def _alone(receive: Receive, connection: Messages) -> list[bytes]:
    return await receive(connection)


async def _one(connection: Messages) -> list[bytes]:
    return [await connection.receive()]


async def _many(connection: Messages) -> list[bytes]:
    return await connection.receive_many()


async def _few(connection: Messages) -> list[bytes]:
    return await connection.receive_many(1)


async def _iterate(connection: Messages) -> list[bytes]:
    async for message in connection:
        return [message]
    return []


async def _bare(connection: Messages) -> list[bytes]:
    """A receive that is a task's whole work."""
    inner = asyncio.get_running_loop().create_task(connection.receive_many())
    try:
        return await inner
    except asyncio.CancelledError:
        # It may have had its messages before the cancellation came to it.
        return [] if inner.cancelled() or not inner.done() else inner.result()


async def _within(connection: Messages) -> list[bytes]:
    return [await asyncio.wait_for(connection.receive(), 60)]


async def _receive_in_time(connection: Messages, chance: random.Random) -> list[bytes]:
    seconds = chance.choice((0, 0, 0.0002, 0.001))
    if chance.randrange(2):
        async with asyncio.timeout(seconds):
            return await connection.receive_many(chance.randint(1, 20))
    return [await asyncio.wait_for(connection.receive(), seconds)]


async def _send_slowly(connection: Messages, messages: list[bytes], chance: random.Random) -> None:
    at = 0
    while at < len(messages):
        size = chance.randint(1, 20)
        await connection.send_many(messages[at : at + size])
        at += size
        await asyncio.sleep(chance.choice((0, 0.0005, 0.001)))


RULES = (
    a_cancellation_as_a_message_arrives_loses_nothing,
    a_cancellation_as_a_batch_arrives_loses_nothing,
    every_kind_of_receive_is_cancelled_without_loss,
    a_task_woken_together_with_its_canceller_loses_nothing,
    timeouts_lose_nothing,
    a_time_limit_of_nothing_takes_nothing,
    a_cancelled_message_is_delivered,
    a_refused_cancellation_changes_nothing,
)
