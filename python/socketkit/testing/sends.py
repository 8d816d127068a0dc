"""Rules of sending: atomic, in order, with backpressure (DESIGN section 3, rules 2 and 6)."""

from __future__ import annotations

import asyncio
import random
from array import array

from ..connection import Stream
from ..errors import EndOfStream
from .claims import all_of, claim, fill, numbered, on_a_pair, raises, same, started, turns


@on_a_pair
async def every_buffer_is_sent(ours: Stream, theirs: Stream) -> None:
    changing = bytearray(b"bytearray;")
    numbers = array("H", [1, 2, 3])
    await ours.send(b"bytes;")
    await ours.send(changing)
    changing[:] = b"XXXXXXXXXX"  # it was taken as it was
    await ours.send(memoryview(b"-memoryview;-")[1:-1])
    await ours.send(memoryview(b"s-t-r-i-d-e-s-")[::2])
    await ours.send(memoryview(numbers).cast("B"))
    with raises(TypeError, "send of a str"):
        await ours.send("text")  # type: ignore[call-overload]
    await ours.send_eof()
    same(await all_of(theirs), b"bytes;bytearray;memoryview;strides" + numbers.tobytes(), "received")


@on_a_pair
async def a_buffer_that_waits_is_sent_as_it_was(ours: Stream, theirs: Stream) -> None:
    changing = bytearray(b"1" * 8_000_000)
    await ours.send(changing)
    changing[:] = b"2" * len(changing)
    ending = await started(ours.send_eof())
    claim(set(await all_of(theirs)) == {ord("1")}, "a change after send() reached the peer")
    await ending


@on_a_pair
async def a_huge_message_arrives_whole(ours: Stream, theirs: Stream) -> None:
    block = numbered(1 << 17)
    sending = await started(_send_and_end(ours, block * 64))
    received, wrong = 0, 0
    with raises(EndOfStream, "the end of 64 MB"):
        while True:
            wrong += await theirs.receive_exactly(len(block)) != block
            received += 1
    await sending
    same((received, wrong), (64, 0), "megabytes received, and how many differ")


@on_a_pair
async def many_small_messages_arrive_in_order(ours: Stream, theirs: Stream) -> None:
    data = numbered(20_000)

    async def send() -> None:
        for at in range(0, len(data), 8):
            await ours.send(data[at : at + 8])
        await ours.send_eof()

    sending = await started(send())
    same(await all_of(theirs), data, "received")
    await sending


@on_a_pair
async def messages_of_many_senders_are_whole_and_in_order(ours: Stream, theirs: Stream) -> None:
    """The peer reads slowly, so that all of them wait for room."""
    size, senders, each = 300_000, 8, 4
    order: list[tuple[int, int]] = []

    async def send(sender: int) -> None:
        for number in range(each):
            order.append((sender, number))
            await ours.send(bytes([sender, number]) * (size // 2))

    sending = asyncio.gather(*[send(sender) for sender in range(senders)])
    arrived = []
    for index in range(senders * each):
        message = await _slowly(theirs, size)
        claim(message == message[:2] * (size // 2), f"message {index} is mixed with another")
        arrived.append((message[0], message[1]))
    await sending
    same(arrived, order, "the order of arrival, against the order of the calls")


@on_a_pair
async def senders_take_turns(ours: Stream, theirs: Stream) -> None:
    """One that waits for room is not overtaken for ever by one that always asks again."""
    _, pouring = await fill(ours)
    waiting = await started(ours.send(b"the one that waited"))
    draining = await started(all_of(theirs))
    await asyncio.wait_for(waiting, 5)
    pouring.cancel()
    await asyncio.wait([pouring])
    await ours.send_eof()
    await draining


@on_a_pair
async def send_waits_for_room_within_bounds(ours: Stream, theirs: Stream) -> None:
    taken, pouring = await fill(ours)
    pouring.cancel()
    with raises(asyncio.CancelledError, "the send that waited for room"):
        await pouring
    ending = await started(ours.send_eof())
    same(len(await all_of(theirs)), taken * 65_536, "bytes of the sends that were not cancelled")
    await ending


@on_a_pair
async def a_waiting_send_goes_on_when_the_peer_reads(ours: Stream, theirs: Stream) -> None:
    taken, pouring = await fill(ours)
    pouring.cancel()
    await asyncio.wait([pouring])
    waiting = await started(ours.send(b"more"))
    await turns(3)
    claim(not waiting.done(), f"there was no room, and yet: {waiting}")
    same(len(await theirs.receive_exactly(taken * 65_536)), taken * 65_536, "bytes received")
    same(await theirs.receive_exactly(4), b"more", "what waited for room")
    await waiting


@on_a_pair
async def a_cancelled_send_has_sent_nothing(ours: Stream, theirs: Stream) -> None:
    """Senders are cancelled at any moment, before, while and after the peer reads."""
    chance = random.Random(6)
    size = 50_000
    done: list[int] = []
    finished = False

    async def send(number: int) -> None:
        await ours.send(number.to_bytes(4, "big") * (size // 4))
        done.append(number)

    async def cancel_some() -> None:
        for batch in range(60):
            tasks = [asyncio.get_running_loop().create_task(send(batch * 10 + index)) for index in range(10)]
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            for task in chance.sample(tasks, 5):
                task.cancel()
            await asyncio.wait(tasks)
        await ours.send_eof()

    cancelling = await started(cancel_some())
    arrived: list[int] = []
    with raises(EndOfStream, "the end"):
        while not finished:
            message = await _slowly(theirs, size)
            claim(message == message[:4] * (size // 4), f"message {len(arrived)} was sent in part")
            arrived.append(int.from_bytes(message[:4], "big"))
    await cancelling
    same(arrived, done, "messages that arrived, against the sends that returned")
    claim(len(done) < 600, "no send was cancelled: the rule tests nothing")


@on_a_pair
async def both_directions_flow_at_once(ours: Stream, theirs: Stream) -> None:
    """Each side sends 5 MB before it looks at what came, in a task of its own."""
    there, back = numbered(640_000), numbered(640_000, 1_000_000)
    tasks = [await started(_send_and_end(ours, there)), await started(_send_and_end(theirs, back))]
    got = await asyncio.gather(all_of(theirs), all_of(ours))
    same(got[0], there, "there")
    same(got[1], back, "back")
    await asyncio.gather(*tasks)


async def _slowly(stream: Stream, count: int) -> bytes:
    """Little by little, with turns of the loop between, so that the senders wait at every possible place."""
    parts = []
    while count:
        part = await stream.receive(min(count, 40_000))
        parts.append(part)
        count -= len(part)
        await asyncio.sleep(0)
    return b"".join(parts)


async def _send_and_end(stream: Stream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()


RULES = (
    every_buffer_is_sent,
    a_buffer_that_waits_is_sent_as_it_was,
    a_huge_message_arrives_whole,
    many_small_messages_arrive_in_order,
    messages_of_many_senders_are_whole_and_in_order,
    senders_take_turns,
    send_waits_for_room_within_bounds,
    a_waiting_send_goes_on_when_the_peer_reads,
    a_cancelled_send_has_sent_nothing,
    both_directions_flow_at_once,
)
