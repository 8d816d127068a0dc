"""Rules of borders: what was sent as one message is received as one (DESIGN section 3, rules 1 and 2)."""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING

from ...errors import MessageTooLarge, Unsupported
from ..claims import claim, numbered, on_a_pair, raises, receive_one, same, started, turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...messages import Messages


@on_a_pair
async def borders_are_kept(ours: Messages, theirs: Messages) -> None:
    sent = [bytes([number]) * size for number, size in enumerate((1, 2, 1, 1000, 3, 1400, 8192, 1))]
    for message in sent:
        await ours.send(message)
    same([await theirs.receive() for _ in sent], sent, "received one by one")
    for message in sent:
        await ours.send(message)
    same([await anext(theirs) for _ in sent], sent, "iterated")


@on_a_pair
async def an_empty_message_is_data(ours: Messages, theirs: Messages) -> None:
    for nothing in (b"", bytearray(), memoryview(b"")):
        waiting = await started(receive_one(theirs))
        await turns(2)
        await ours.send(nothing)
        same(await waiting, b"", "received by a task that waited")
    sent = [b"", b"x", b"", b"", b"y", b""]
    await ours.send_many(sent)
    same(await _so_many(theirs, len(sent)), sent, "received")
    await ours.send(b"")
    same(await anext(theirs), b"", "iterated")
    same((ours.sent_messages, theirs.received_messages), (3 + len(sent) + 1, 3 + len(sent) + 1), "counted")


@on_a_pair
async def an_empty_message_is_refused(ours: Messages, theirs: Messages) -> None:
    """It would get lost. Nothing of what stands beside it in send_many() is sent."""
    for nothing in (b"", bytearray(), memoryview(b"")):
        with raises(Unsupported, "send of an empty message"):
            await ours.send(nothing)
        with raises(Unsupported, "send_many with an empty message"):
            await ours.send_many([b"beside it", nothing])
    await ours.send(b"behind it")
    same(await theirs.receive(), b"behind it", "received")
    same(ours.sent_messages, 1, "sent_messages")


@on_a_pair
async def both_directions_are_open(ours: Messages, theirs: Messages) -> None:
    for number in range(20):
        await ours.send(numbered(1, number))
        await theirs.send(numbered(2, number))
        same(await theirs.receive(), numbered(1, number), "there")
        same(await ours.receive(), numbered(2, number), "back")


@on_a_pair
async def bursts_arrive_in_order(ours: Messages, theirs: Messages) -> None:
    """As many at a time as find room everywhere, of all sizes, by both ways of sending and of receiving."""
    for number in range(40):
        sent = [numbered(1 + index % 5, 100 * number + index) for index in range(BURST)]
        if number % 2:
            await ours.send_many(sent)
        else:
            for message in sent:
                await ours.send(message)
        got = [await theirs.receive() for _ in sent] if number % 4 < 2 else await _so_many(theirs, len(sent))
        same(got, sent, f"burst {number}")


@on_a_pair
async def receive_many_gives_what_is_there(ours: Messages, theirs: Messages) -> None:
    waiting = await started(theirs.receive_many())
    await turns(3)
    claim(not waiting.done(), "receive_many() gave nothing, and yet it ended")
    await ours.send(b"first")
    same(await waiting, [b"first"], "receive_many() that waited")
    sent = [numbered(1, number) for number in range(BURST)]
    await ours.send_many(sent)
    same(await theirs.receive_many(1), sent[:1], "receive_many(1)")
    some = await theirs.receive_many(max_count=3)
    claim(1 <= len(some) <= 3, f"receive_many(3) gave {len(some)} messages")
    same(await theirs.receive(), sent[1 + len(some)], "receive() behind receive_many()")
    left = BURST - 2 - len(some)
    same(some + await _so_many(theirs, left), sent[1 : 1 + len(some)] + sent[2 + len(some) :], "the rest")
    for wrong in (0, -1):
        with raises(ValueError if wrong == 0 else OverflowError, f"receive_many({wrong})"):
            await theirs.receive_many(wrong)


@on_a_pair
async def nothing_to_send_is_sent_at_once(ours: Messages, theirs: Messages) -> None:
    await ours.send_many([])
    await ours.send(b"x")
    same(await theirs.receive(), b"x", "received behind an empty send_many()")
    same(ours.sent_messages, 1, "sent_messages")


@on_a_pair
async def every_buffer_is_sent(ours: Messages, theirs: Messages) -> None:
    changing = bytearray(b"bytearray")
    numbers = array("H", [1, 2, 3])
    await ours.send(b"bytes")
    await ours.send(changing)
    changing[:] = b"X" * 9  # it was taken as it was
    await ours.send(memoryview(b"-memoryview-")[1:-1])
    await ours.send(memoryview(b"s-t-r-i-d-e-s-")[::2])
    await ours.send(memoryview(numbers).cast("B"))
    await ours.send_many((b"a tuple", bytearray(b"of buffers"), memoryview(b"of every kind")))
    for wrong in ("text", None, 1):
        with raises(TypeError, f"send of {wrong!r}"):
            await ours.send(wrong)  # type: ignore[arg-type]
        with raises(TypeError, f"send_many with {wrong!r}"):
            await ours.send_many([b"not sent", wrong])  # type: ignore[list-item]
    await ours.send(b"last")
    wanted = [b"bytes", b"bytearray", b"memoryview", b"strides", numbers.tobytes()]
    wanted += [b"a tuple", b"of buffers", b"of every kind", b"last"]
    same([await theirs.receive() for _ in wanted], wanted, "received")


@on_a_pair
async def the_largest_message_arrives_whole(ours: Messages, theirs: Messages) -> None:
    """In both directions, and with the smallest one behind it."""
    for one, other in ((ours, theirs), (theirs, ours)):
        size = one.max_message_bytes
        largest = numbered(size // 8 + 1)[:size]
        sending = await started(one.send(largest))
        same(await other.receive(), largest, f"a message of max_message_bytes ({size})")
        await sending
        await one.send(b"1")
        same(await other.receive(), b"1", "behind it")


@on_a_pair
async def a_message_that_is_too_large_is_refused(ours: Messages, theirs: Messages) -> None:
    """The text has the size allowed; nothing was sent, nor of what stands beside it in send_many()."""
    size = ours.max_message_bytes
    large = bytes(size + 1)
    sends: dict[str, Callable[[], Awaitable[None]]] = {
        "send": lambda: ours.send(large),
        "send_many": lambda: ours.send_many([b"beside it", large]),
    }
    for what, send in sends.items():
        try:
            await send()
        except MessageTooLarge as refused:
            digits = str(refused).replace(",", "")
            claim(str(size) in digits, f"{what}: the refusal does not say {size}: {refused}")
            claim(isinstance(refused, ValueError), f"{what}: {type(refused)} is no ValueError")
        else:
            raise AssertionError(f"{what} took {size + 1} bytes where max_message_bytes is {size}")
    await ours.send(b"behind it")
    same(await theirs.receive(), b"behind it", "received")
    same(ours.sent_messages, 1, "sent_messages")


@on_a_pair
async def messages_are_counted(ours: Messages, theirs: Messages) -> None:
    for number in range(BURST):
        await ours.send(numbered(1, number))
    await ours.send_many([b"x", b"y"])
    await _so_many(theirs, BURST + 2)
    same((ours.sent_messages, ours.received_messages), (BURST + 2, 0), "sent_messages, received_messages here")
    same((theirs.sent_messages, theirs.received_messages), (0, BURST + 2), "and there")
    same((ours.dropped, theirs.dropped), (0, 0), "dropped")


@on_a_pair
async def each_end_knows_the_other(ours: Messages, theirs: Messages) -> None:
    for one, other, what in ((ours, theirs, "our"), (theirs, ours, "their")):
        here, there = one.peer.endpoint, other.local
        if here.port is not None:
            same((here.host, here.port), (there.host, there.port), f"{what} peer, against the other's local")
        claim(str(one.local) in repr(one), f"{one!r} does not say where it is")
        claim(not os.get_inheritable(one.fileno()), "a program that is started would inherit the descriptor")
        claim(not os.get_blocking(one.fileno()), "the descriptor blocks")
        same(one.closed, False, "closed")


async def _so_many(connection: Messages, count: int) -> list[bytes]:
    """`count` messages, in batches as they come."""
    got: list[bytes] = []
    while len(got) < count:
        batch = await connection.receive_many(count - len(got))
        claim(1 <= len(batch) <= count - len(got), f"receive_many({count - len(got)}) gave {len(batch)} messages")
        got += batch
    return got


# Datagrams in flight that every kernel's default buffers have room for: a small one counts 768 bytes and more there.
BURST = 50

RULES = (
    borders_are_kept,
    both_directions_are_open,
    bursts_arrive_in_order,
    receive_many_gives_what_is_there,
    nothing_to_send_is_sent_at_once,
    every_buffer_is_sent,
    the_largest_message_arrives_whole,
    a_message_that_is_too_large_is_refused,
    messages_are_counted,
    each_end_knows_the_other,
)
RULES_OF_TYPES_WITH_EMPTY_MESSAGES = (an_empty_message_is_data,)
RULES_OF_TYPES_WITHOUT_EMPTY_MESSAGES = (an_empty_message_is_refused,)
