"""Rules of answers over a network: a sender can be forged, so an answer is no larger than its question."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...errors import UnreachablePeer
from ..claims import claim, on_a_pair, same, until
from .exchange import BURST, data_of, place

if TYPE_CHECKING:
    from ...datagrams import Datagrams
    from ...endpoint import Endpoint
    from ..claims import MakePairOf


@on_a_pair
async def an_answer_is_no_larger_than_its_question(ours: Datagrams, theirs: Datagrams) -> None:
    """What is more is not sent, and counted; the next question brings room for the next answer."""
    await ours.send(bytes(100), theirs.local)
    question = await theirs.receive()
    await theirs.answer(question, b"a" * 60)
    await theirs.answer(question, b"b" * 41)
    await theirs.answer(question, b"c" * 40)
    await theirs.answer(question, b"d")
    await theirs.send(b"e", question.peer or "")
    await theirs.send_many([b"f", b"g"], question.peer or "")
    same(theirs.withheld, 5, "withheld")
    await ours.send(b"23", theirs.local)
    await theirs.send_many([await theirs.receive()])
    same(await data_of(ours, 3), [b"a" * 60, b"c" * 40, b"23"], "the answers that came")
    same((theirs.withheld, ours.withheld), (5, 0), "withheld")


@on_a_pair
async def who_is_called_first_is_sent_all(ours: Datagrams, theirs: Datagrams) -> None:
    await theirs.send(b"?", ours.local)
    await ours.answer(await ours.receive(), b"!")
    question = await theirs.receive()
    sent = [b"%04d" % number for number in range(BURST)]
    await theirs.send_many(sent, ours.local)
    await theirs.answer(question, bytes(20_000))
    same(await data_of(ours, BURST), sent, "received")
    same(len((await ours.receive()).data), 20_000, "bytes of the answer")
    same(theirs.withheld, 0, "withheld")


@on_a_pair
async def who_is_validated_is_sent_all(ours: Datagrams, theirs: Datagrams) -> None:
    await ours.send(b"?", theirs.local)
    question = await theirs.receive()
    assert question.peer is not None
    theirs.validate(question.peer)
    await theirs.answer(question, bytes(20_000))
    same(len((await ours.receive()).data), 20_000, "bytes of the answer")
    same(theirs.withheld, 0, "withheld")


async def an_unreachable_peer_that_we_called_is_an_error(make_pair: MakePairOf[Datagrams]) -> None:
    """It says who; the socket lives on."""
    async with make_pair() as (ours, theirs), make_pair() as (other, _):
        gone = theirs.local
        await theirs.aclose()
        for _ in range(3):
            await _told_unreachable(ours, gone)
        await other.send(b"from another", ours.local)
        same((await ours.receive()).data, b"from another", "received behind the errors")
        claim(not ours.closed, "the socket has closed itself")


async def an_unreachable_peer_that_called_us_is_counted(make_pair: MakePairOf[Datagrams]) -> None:
    """Whoever forges addresses must not stop a server."""
    async with make_pair() as (ours, theirs), make_pair() as (other, _):
        await ours.send(b"question", theirs.local)
        question = await theirs.receive()
        await ours.aclose()
        receiving = asyncio.ensure_future(theirs.receive())
        await theirs.answer(question, b"answer")
        await until(lambda: theirs.unreachable or receiving.done())
        claim(not receiving.done(), f"an answer that nobody took ended a receive: {receiving}")
        same(theirs.unreachable, 1, "unreachable")
        await other.send(b"from another", theirs.local)
        same((await receiving).data, b"from another", "received behind it")


@on_a_pair
async def all_counters_are_in_stats(ours: Datagrams, theirs: Datagrams) -> None:
    await ours.send(b"x", theirs.local)
    await theirs.receive()
    for socket in (ours, theirs):
        for name in ("dropped", "withheld", "unsent", "unreachable"):
            same(socket.stats[name], getattr(socket, name), f"stats[{name!r}]")


async def _told_unreachable(socket: Datagrams, gone: Endpoint) -> None:
    """By the call that sends or by one that receives: the kernel tells with the next call of either kind."""
    try:
        await socket.send(b"x", gone)
        async with asyncio.timeout(5):
            got = await socket.receive()
    except UnreachablePeer as told:
        same(place(told.endpoint), place(gone), "who is unreachable")
        same(told.transient, True, "transient")
        return
    raise AssertionError(f"received {got} from nobody")


RULES = (
    an_answer_is_no_larger_than_its_question,
    who_is_called_first_is_sent_all,
    who_is_validated_is_sent_all,
    an_unreachable_peer_that_we_called_is_an_error,
    an_unreachable_peer_that_called_us_is_counted,
    all_counters_are_in_stats,
)
