"""Rules of room: what a full queue loses is counted, and what need not get lost waits (DESIGN section 3, rule 6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..claims import claim, numbered, on_a_pair, same, started, turns, until

if TYPE_CHECKING:
    from ...datagrams import Datagrams


@on_a_pair
async def what_a_full_queue_loses_is_counted(ours: Datagrams, theirs: Datagrams) -> None:
    """What arrived and what was dropped are all that was sent."""
    # Each larger than the one before: the kernel would join equal ones into runs, and count a lost run as one.
    sent = [bytes(1000 + size) for size in range(50)]
    for _ in range(60):
        await asyncio.wait_for(ours.send_many(sent, theirs.local), 5)
    got, count = await _all_there(theirs), 60 * len(sent)
    claim(len(got) < count, "nothing was lost: the rule tests nothing")
    # The kernel tells how many it has dropped with the next datagram that it has room for.
    await ours.send(b"after the flood", theirs.local)
    got += [(await theirs.receive()).data]
    same(got[-1], b"after the flood", "received when there was room again")
    same(len(got) + theirs.dropped, count + 1, f"{len(got)} received and {theirs.dropped} dropped, in all")
    same(ours.dropped, 0, "dropped where nothing came")


@on_a_pair
async def send_waits_for_room(ours: Datagrams, theirs: Datagrams) -> None:
    """Nothing gets lost on a type that cannot lose."""
    taken, most = 0, 5000

    async def pour() -> None:
        nonlocal taken
        while taken < most:
            await ours.send(numbered(500, taken), theirs.local)
            taken += 1

    pouring = await started(pour())
    still, before = 0, -1
    while still < 5:
        await asyncio.sleep(0.002)
        still = still + 1 if taken == before else 0
        before = taken
    claim(taken < most, f"send() took {taken * 4000} bytes that nobody reads: there is no backpressure")
    claim(not pouring.done(), f"send() to a peer that does not read failed: {pouring}")
    for number in range(taken):
        same((await theirs.receive()).data, numbered(500, number), f"datagram {number}")
    await until(lambda: taken > before)
    pouring.cancel()
    await asyncio.wait([pouring])
    same(theirs.dropped, 0, "dropped")


@on_a_pair
async def an_answer_is_of_any_size(ours: Datagrams, theirs: Datagrams) -> None:
    """Whom it is from, the kernel has seen: nothing is withheld."""
    await ours.send(b"?", theirs.local)
    await theirs.answer(await theirs.receive(), bytes(20_000))
    await turns(2)
    same(len((await ours.receive()).data), 20_000, "bytes of the answer")
    same(theirs.withheld, 0, "withheld")


async def _all_there(socket: Datagrams) -> list[bytes]:
    """What has come by now."""
    got: list[bytes] = []
    while True:
        try:
            async with asyncio.timeout(0.05):
                got += [datagram.data for datagram in await socket.receive_many()]
        except TimeoutError:
            return got


RULES_OF_LOSSY_TYPES = (what_a_full_queue_loses_is_counted,)
RULES_OF_LOSSLESS_TYPES = (send_waits_for_room, an_answer_is_of_any_size)
