"""Rules of exchange: whom a datagram is from, whom it goes to, and what it holds."""

from __future__ import annotations

import asyncio
import os
from array import array
from typing import TYPE_CHECKING

from ...errors import ClosedConnection, MessageTooLarge
from ..claims import aclose, claim, numbered, on_a_pair, raises, same

if TYPE_CHECKING:
    from ...datagrams import Datagram, Datagrams
    from ...endpoint import Endpoint


@on_a_pair
async def each_datagram_tells_its_peer(ours: Datagrams, theirs: Datagrams) -> None:
    for one, other in ((ours, theirs), (theirs, ours)):
        await one.send(b"hello", other.local)
        datagram = await other.receive()
        same(datagram.data, b"hello", "data")
        same(place(datagram.peer), place(one.local), "peer")
        same(datagram.truncated, False, "truncated")


@on_a_pair
async def the_receiver_is_an_endpoint_or_its_text(ours: Datagrams, theirs: Datagrams) -> None:
    await ours.send(b"1", theirs.local)
    await ours.send(b"2", str(theirs.local))
    await ours.send_many([b"3", b"4"], theirs.local)
    await ours.send_many([b"5", b"6"], str(theirs.local))
    same(await data_of(theirs, 6), [b"%d" % number for number in range(1, 7)], "received")


@on_a_pair
async def an_answer_reaches_who_asked(ours: Datagrams, theirs: Datagrams) -> None:
    for number in range(20):
        await ours.send(numbered(2, number), theirs.local)
        question = await theirs.receive()
        await theirs.answer(question, question.data[:8])
        answer = await ours.receive()
        same((answer.data, place(answer.peer)), (numbered(1, number), place(theirs.local)), f"answer {number}")


@on_a_pair
async def a_batch_is_echoed(ours: Datagrams, theirs: Datagrams) -> None:
    """`send_many(batch)` gives each back to the peer that it is from, in order."""
    for number in range(50):
        sent = [numbered(1 + index % 3, 100 * number + index) for index in range(BURST)]
        await ours.send_many(sent, theirs.local)
        batch: list[Datagram] = []
        while len(batch) < BURST:
            batch += await theirs.receive_many(BURST - len(batch))
        same([datagram.data for datagram in batch], sent, f"burst {number}")
        await theirs.send_many(batch)
        same(await data_of(ours, BURST), sent, f"echo of burst {number}")


@on_a_pair
async def an_empty_datagram_is_data(ours: Datagrams, theirs: Datagrams) -> None:
    for nothing in (b"", bytearray(), memoryview(b"")):
        await ours.send(nothing, theirs.local)
        question = await theirs.receive()
        same((question.data, place(question.peer)), (b"", place(ours.local)), "received")
        await theirs.answer(question, b"")
        same((await ours.receive()).data, b"", "the answer")
    sent = [b"", b"x", b"", b""]
    await ours.send_many(sent, theirs.local)
    same(await data_of(theirs, 4), sent, "received")


@on_a_pair
async def every_buffer_is_sent(ours: Datagrams, theirs: Datagrams) -> None:
    changing = bytearray(b"bytearray")
    await ours.send(changing, theirs.local)
    changing[:] = b"X" * 9  # it was taken as it was
    await ours.send(memoryview(b"s-t-r-i-d-e-s-")[::2], theirs.local)
    await ours.send(memoryview(array("H", [1, 2, 3])).cast("B"), theirs.local)
    await ours.send_many((bytearray(b"many"), memoryview(b"more")), theirs.local)
    with raises(TypeError, "send of a str"):
        await ours.send("text", theirs.local)  # type: ignore[arg-type]
    wanted = [b"bytearray", b"strides", array("H", [1, 2, 3]).tobytes(), b"many", b"more"]
    same(await data_of(theirs, 5), wanted, "received")


@on_a_pair
async def a_datagram_that_is_too_large_is_refused(ours: Datagrams, theirs: Datagrams) -> None:
    """Nothing was sent, nor of what stands beside it in send_many()."""
    large = bytes(2_000_000)
    with raises(MessageTooLarge, "send"):
        await ours.send(large, theirs.local)
    with raises(MessageTooLarge, "send_many"):
        await ours.send_many([b"beside it", large], theirs.local)
    await ours.send(b"behind it", theirs.local)
    same((await theirs.receive()).data, b"behind it", "received")


@on_a_pair
async def peers_are_made_once(ours: Datagrams, theirs: Datagrams) -> None:
    """The endpoint of a peer is the same object with each of its datagrams."""
    await ours.send_many([b"1", b"2"], theirs.local)
    first, second = await theirs.receive(), await theirs.receive()
    await ours.send(b"3", theirs.local)
    third = await theirs.receive()
    claim(first.peer is second.peer is third.peer, "each datagram has an endpoint of its own")


@on_a_pair
async def a_datagram_is_a_frozen_value(ours: Datagrams, theirs: Datagrams) -> None:
    await ours.send(b"data", theirs.local)
    datagram = await theirs.receive()
    for name in ("data", "peer", "local", "truncated", "ecn", "timestamp_ns"):
        with raises(AttributeError, f"setting {name}"):
            setattr(datagram, name, None)
    same(datagram.ecn, 0, "ecn")


@on_a_pair
async def a_closed_socket_says_so(ours: Datagrams, theirs: Datagrams) -> None:
    await theirs.send(b"unread", ours.local)
    where = theirs.local
    claim(not os.get_inheritable(ours.fileno()), "a program that is started would inherit the descriptor")
    await asyncio.gather(*[aclose(ours) for _ in range(3)])
    ours.abort()
    claim(ours.closed, "closed and yet not `closed`")
    with raises(ClosedConnection, "receive"):
        await ours.receive()
    with raises(ClosedConnection, "receive_many"):
        await ours.receive_many()
    with raises(ClosedConnection, "send"):
        await ours.send(b"x", where)
    with raises(ClosedConnection, "send_many"):
        await ours.send_many([b"x"], where)
    with raises(ClosedConnection, "iteration"):
        async for _ in ours:
            pass
    with raises(ClosedConnection, "fileno"):
        ours.fileno()
    same(repr(ours).endswith("closed>"), True, f"repr {ours!r} tells that it is closed")
    claim(str(ours.local) in repr(ours), "a closed socket has forgotten where it was")


def place(endpoint: Endpoint | None) -> tuple[object, ...]:
    """Where it is, without what else its address says."""
    return () if endpoint is None else (endpoint.host, endpoint.port, endpoint.path)


async def data_of(socket: Datagrams, count: int) -> list[bytes]:
    """What the next `count` datagrams hold."""
    return [(await socket.receive()).data for _ in range(count)]


# Datagrams in flight that there is room for everywhere: a Unix socket queues ten (net.unix.max_dgram_qlen).
BURST = 8

RULES = (
    each_datagram_tells_its_peer,
    the_receiver_is_an_endpoint_or_its_text,
    an_answer_reaches_who_asked,
    a_batch_is_echoed,
    an_empty_datagram_is_data,
    every_buffer_is_sent,
    a_datagram_that_is_too_large_is_refused,
    peers_are_made_once,
    a_datagram_is_a_frozen_value,
    a_closed_socket_says_so,
)
