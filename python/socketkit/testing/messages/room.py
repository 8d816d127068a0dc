"""Rules of room: send is atomic, in order, and waits for a peer that does not read (DESIGN section 3)."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from ...errors import ClosedConnection
from ..claims import claim, fill, numbered, on_a_pair, raises, same, started, turns, until

if TYPE_CHECKING:
    from ...messages import Messages


@on_a_pair
async def a_flow_of_small_messages_arrives_in_order(ours: Messages, theirs: Messages) -> None:
    count = 5000

    async def send() -> None:
        for number in range(0, count, 10):
            await ours.send(numbered(1, number))
            await ours.send_many([numbered(1, number + index) for index in range(1, 10)])

    sending = await started(send())
    got = await _receive(theirs, count)
    await sending
    same(got, [numbered(1, number) for number in range(count)], "received")


@on_a_pair
async def messages_of_many_senders_are_whole_and_in_order(ours: Messages, theirs: Messages) -> None:
    """The peer reads slowly, so that all of them wait for room."""
    size, senders, each = min(20_000, ours.max_message_bytes), 8, 8
    order: list[tuple[int, int]] = []

    async def send(sender: int) -> None:
        for number in range(each):
            order.append((sender, number))
            await ours.send(bytes([sender, number]) * (size // 2))

    sending = asyncio.gather(*[send(sender) for sender in range(senders)])
    arrived = []
    for index in range(senders * each):
        await turns(index % 3)
        message = await theirs.receive()
        claim(message == message[:2] * (size // 2), f"message {index} is mixed with another")
        arrived.append((message[0], message[1]))
    await sending
    same(arrived, order, "the order of arrival, against the order of the calls")


@on_a_pair
async def the_messages_of_a_send_many_stay_together(ours: Messages, theirs: Messages) -> None:
    """More than there is room for at a time, from several tasks, and with single messages between."""
    senders, each = 4, 300
    message = bytes(min(1000, ours.max_message_bytes) - 3)

    async def send(sender: int) -> None:
        await ours.send_many([b"%c%2x" % (65 + sender, number & 0xFF) + message for number in range(each)])
        await ours.send(b"%c--" % (65 + sender))

    sending = asyncio.gather(*[send(sender) for sender in range(senders)])
    got = await _receive(theirs, senders * (each + 1))
    await sending
    batches = [data[:3] for data in got if not data.endswith(b"--")]
    wanted = [b"%c%2x" % (65 + sender, number & 0xFF) for sender in range(senders) for number in range(each)]
    same(sorted(data[:1] for data in got if data.endswith(b"--")), [b"A", b"B", b"C", b"D"], "the single messages")
    same(batches, wanted, "the messages of all send_many()")
    for sender in range(senders):
        places = [index for index, data in enumerate(got) if data[:1] == b"%c" % (65 + sender)][:each]
        same(places[-1] - places[0], each - 1, f"between the first and the last place of sender {sender}'s")


@on_a_pair
async def send_waits_for_room_within_bounds(ours: Messages, theirs: Messages) -> None:
    message = _message(ours)
    taken, pouring = await fill(ours, message)
    pouring.cancel()
    with raises(asyncio.CancelledError, "the send that waited for room"):
        await pouring
    same(await _receive(theirs, taken), [message] * taken, "what was taken")
    await ours.send(b"behind it")
    same(await theirs.receive(), b"behind it", "received behind the sends that were not cancelled")


@on_a_pair
async def send_many_waits_for_room_within_bounds(ours: Messages, theirs: Messages) -> None:
    """The lists that it takes do not pile up."""
    message = _message(ours)
    taken = 0

    async def pour() -> None:
        nonlocal taken
        while taken < 200:
            await ours.send_many([message] * 20)
            taken += 1

    pouring = await started(pour())
    still, before = 0, -1
    while still < 5:
        await asyncio.sleep(0.002)
        still = still + 1 if taken == before else 0
        before = taken
    claim(taken < 200, f"send_many() took {200 * 20 * len(message)} bytes that nobody reads: there is no backpressure")
    claim(not pouring.done(), f"send_many() to a peer that does not read failed: {pouring}")
    receiving = await started(_receive(theirs, (taken + 1) * 20))
    await until(lambda: taken > before)
    pouring.cancel()
    await asyncio.wait([pouring])
    same(set(await receiving), {message}, "received")


@on_a_pair
async def a_waiting_send_goes_on_when_the_peer_reads(ours: Messages, theirs: Messages) -> None:
    taken, pouring = await fill(ours, _message(ours))
    pouring.cancel()
    await asyncio.wait([pouring])
    changing = bytearray(_message(ours))
    waiting = await started(ours.send(changing))
    await turns(3)
    claim(not waiting.done(), f"there was no room, and yet: {waiting}")
    await _receive(theirs, taken)
    same(await theirs.receive(), bytes(changing), "what waited for room")
    await waiting


@on_a_pair
async def senders_take_turns(ours: Messages, theirs: Messages) -> None:
    """One that waits for room is not overtaken for ever by one that always asks again."""
    _, pouring = await fill(ours, _message(ours))
    waiting = await started(ours.send(b"the one that waited"))
    draining = await started(_drain(theirs, b"the one that waited"))
    await asyncio.wait_for(waiting, 5)
    await draining
    pouring.cancel()
    await asyncio.wait([pouring])


@on_a_pair
async def a_cancelled_send_has_sent_nothing(ours: Messages, theirs: Messages) -> None:
    """Senders are cancelled at any moment, before, while and after the peer reads; every other one sends a batch."""
    chance = random.Random(6)
    filling = bytes(min(15_000, ours.max_message_bytes - 8))
    begun: dict[int, int] = {}
    done: list[int] = []

    async def send(number: int) -> None:
        begun[number] = 1 + 2 * (number % 2)
        if begun[number] == 1:
            await ours.send(numbered(1, number) + filling)
        else:
            await ours.send_many([numbered(1, number) + filling] * begun[number])
        done.append(number)

    async def cancel_some() -> None:
        for batch in range(30):
            tasks = [asyncio.get_running_loop().create_task(send(batch * 10 + index)) for index in range(10)]
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            for task in chance.sample(tasks, 5):
                task.cancel()
            await asyncio.wait(tasks)
        await ours.send(b"that is all")

    cancelling = await started(cancel_some())
    arrived: list[int] = []
    while (message := await theirs.receive()) != b"that is all":
        claim(message[8:] == filling, f"message {len(arrived)} was sent in part")
        arrived.append(int.from_bytes(message[:8], "big"))
        await asyncio.sleep(0)
    await cancelling
    same(arrived, [number for number in done for _ in range(begun[number])], "arrived, against the sends that returned")
    claim(len(done) < 300, "no send was cancelled: the rule tests nothing")


@on_a_pair
async def both_directions_flow_at_once(ours: Messages, theirs: Messages) -> None:
    """Each side sends more than there is room for before it looks at what came, in a task of its own."""
    count, message = 300, _message(ours)

    async def send(connection: Messages) -> None:
        for _ in range(count):
            await connection.send(message)

    tasks = [await started(send(ours)), await started(send(theirs))]
    got = await asyncio.gather(_receive(theirs, count), _receive(ours, count))
    same([set(there) for there in got], [{message}] * 2, "received there, and back")
    await asyncio.gather(*tasks)


@on_a_pair
async def closing_is_bounded(ours: Messages, theirs: Messages) -> None:
    """And whoever waits for room is told of it."""
    _, pouring = await fill(ours, _message(ours))
    another = await started(ours.send(b"another"))
    begun = time.monotonic()
    # The bound is the pair's Limits.close_seconds, which a rule does not know: the default is five.
    await asyncio.wait_for(ours.aclose(), 6)
    claim(time.monotonic() - begun < 6, "aclose() took longer than Limits.close_seconds")
    for task, what in ((pouring, "send"), (another, "second send")):
        with raises(ClosedConnection, f"the {what} that waited when its connection was closed"):
            await task


@on_a_pair
async def aborting_wakes_whoever_waits_for_room(ours: Messages, theirs: Messages) -> None:
    _, pouring = await fill(ours, _message(ours))
    another = await started(ours.send_many([b"another", b"and another"]))
    ours.abort()
    for task, what in ((pouring, "send"), (another, "send_many")):
        with raises(ClosedConnection, f"the {what} that waited when its connection was aborted"):
            await task


@on_a_pair
async def nobody_waits_for_a_peer_that_does_not_read(ours: Messages, theirs: Messages) -> None:
    """What is lost for want of room is counted: what arrived and what was dropped are all that was sent."""
    # Each larger than the one before: the kernel would join equal ones into runs, and count a lost run as one.
    sent = [bytes(1000 + size) for size in range(50)]
    for _ in range(60):
        await asyncio.wait_for(ours.send_many(sent), 5)
    got, count = await _all_there(theirs), 60 * len(sent)
    claim(len(got) < count, "nothing was lost: the rule tests nothing")
    # The kernel tells how many it has dropped with the next message that it has room for.
    await ours.send(b"after the flood")
    got += [await theirs.receive()]
    same(got[-1], b"after the flood", "received when there was room again")
    same(len(got) + theirs.dropped, count + 1, f"{len(got)} received and {theirs.dropped} dropped, in all")
    same(ours.dropped, 0, "dropped where nothing came")


async def _all_there(connection: Messages) -> list[bytes]:
    """What has come by now."""
    got: list[bytes] = []
    while True:
        try:
            async with asyncio.timeout(0.05):
                got += await connection.receive_many()
        except TimeoutError:
            return got


async def _receive(connection: Messages, count: int) -> list[bytes]:
    got: list[bytes] = []
    while len(got) < count:
        got += await connection.receive_many(min(64, count - len(got)))
    return got


async def _drain(connection: Messages, last: bytes) -> None:
    while await connection.receive() != last:
        pass


def _message(connection: Messages) -> bytes:
    """One of which a few hundred are more than any buffer takes."""
    return numbered(min(16_384, connection.max_message_bytes // 2) // 8)


RULES = (
    a_flow_of_small_messages_arrives_in_order,
    messages_of_many_senders_are_whole_and_in_order,
    the_messages_of_a_send_many_stay_together,
    send_waits_for_room_within_bounds,
    send_many_waits_for_room_within_bounds,
    a_waiting_send_goes_on_when_the_peer_reads,
    senders_take_turns,
    a_cancelled_send_has_sent_nothing,
    both_directions_flow_at_once,
    closing_is_bounded,
    aborting_wakes_whoever_waits_for_room,
)
RULES_OF_LOSSY_TYPES = (nobody_waits_for_a_peer_that_does_not_read,)
