"""Rules of receiving: what each kind takes, and what it leaves (DESIGN section 3)."""

from __future__ import annotations

import asyncio
import random

from ..connection import Stream
from ..errors import EndOfStream, PeerViolation
from .claims import claim, end_of, numbered, on_a_pair, raises, receive_one, same, started, turns


@on_a_pair
async def receive_gives_at_most_what_was_asked(ours: Stream, theirs: Stream) -> None:
    await ours.send(b"abcdef")
    same(await theirs.receive(1), b"a", "receive(1)")
    same(await theirs.receive(max_bytes=2), b"bc", "receive(max_bytes=2)")
    same(await theirs.receive(), b"def", "receive()")
    for wrong in (0, -1):
        with raises((ValueError if wrong == 0 else OverflowError), f"receive({wrong})"):
            await theirs.receive(wrong)


@on_a_pair
async def receive_exactly_waits_for_all(ours: Stream, theirs: Stream) -> None:
    waiting = await started(_exactly(theirs, 5))
    for byte in (b"1", b"2", b"3", b"4"):
        await ours.send(byte)
        await turns(3)
        claim(not waiting.done(), "receive_exactly(5) gave less than five bytes")
    await ours.send(b"56")
    same(await waiting, b"12345", "receive_exactly(5)")
    same(await theirs.receive_exactly(0), b"", "receive_exactly(0)")
    same(await theirs.receive(), b"6", "what was left")


@on_a_pair
async def an_early_end_leaves_the_bytes(ours: Stream, theirs: Stream) -> None:
    await ours.send(b"12345")
    await ours.send_eof()
    for _ in range(2):
        with raises(EndOfStream, "receive_exactly(6) of five"):
            await theirs.receive_exactly(6)
        with raises(EndOfStream, "receive_until of what does not come"):
            await theirs.receive_until(b"\n")
    same(await theirs.receive(2), b"12", "what was left")
    same(await theirs.receive_exactly(3), b"345", "what was left")
    await end_of(theirs)


@on_a_pair
async def a_delimiter_may_come_in_parts(ours: Stream, theirs: Stream) -> None:
    text = b"one--END--two-END---END--tail"
    waiting = await started(_until(theirs, b"--END--"))
    for at in range(len(text)):
        await ours.send(text[at : at + 1])
        await turns(2)
    same(await waiting, b"one--END--", "up to the first delimiter")
    same(await theirs.receive_until(b"--END--"), b"two-END---END--", "up to the second")
    same(await theirs.receive_exactly(4), b"tail", "what was left")


@on_a_pair
async def receive_until_is_bounded(ours: Stream, theirs: Stream) -> None:
    await ours.send(b"1234567\r\n")
    with raises(PeerViolation, "a delimiter that ends one byte too late"):
        await theirs.receive_until(b"\r\n", max_bytes=8)
    same(await theirs.receive_until(b"\r\n", max_bytes=9), b"1234567\r\n", "one that ends just in time")
    await ours.send(b"12345678")
    waiting = await started(_until(theirs, b"\n", 9))
    await turns(3)
    claim(not waiting.done(), "given up although the delimiter could still come in time")
    await ours.send(b"9")
    with raises(PeerViolation, "no delimiter within the bound"):
        await waiting
    same(await theirs.receive(), b"123456789", "what was left")


@on_a_pair
async def another_delimiter_is_searched_from_the_start(ours: Stream, theirs: Stream) -> None:
    await ours.send(b"a;b,c")
    with raises(PeerViolation, "no line end"):
        await theirs.receive_until(b"\n", max_bytes=5)
    same(await theirs.receive_until(b";"), b"a;", "up to ;")
    waiting = await started(_until(theirs, b"\n"))
    await turns(2)
    waiting.cancel()
    await asyncio.wait([waiting])
    same(await theirs.receive_until(b","), b"b,", "up to , after a cancelled search")
    same(await theirs.receive(), b"c", "what was left")


@on_a_pair
async def lines_come_without_their_ends(ours: Stream, theirs: Stream) -> None:
    sending = await started(_send_in_bytes(ours, b"one\r\n\ntwo\n\r\nthr\ree\r\r\nlast"))
    same([line async for line in theirs.lines()], [b"one", b"", b"two", b"", b"thr\ree\r", b"last"], "lines")
    await sending
    same([line async for line in theirs.lines()], [], "lines after the end")


@on_a_pair
async def no_line_is_cut(ours: Stream, theirs: Stream) -> None:
    long = bytes(700_000)
    sending = await started(_send_and_end(ours, long + b"\n" + long))
    same([len(line) async for line in theirs.lines(max_bytes=800_000)], [700_000, 700_000], "lengths of the lines")
    await sending


@on_a_pair
async def too_long_a_line_is_refused(ours: Stream, theirs: Stream) -> None:
    await ours.send(b"fine\n" + b"x" * 100)
    lines = theirs.lines(max_bytes=50)
    same(await anext(lines), b"fine", "the first line")
    with raises(PeerViolation, "a line of more than max_bytes"):
        await anext(lines)
    same(await theirs.receive(), b"x" * 100, "what was left")


@on_a_pair
async def kinds_of_receive_mix(ours: Stream, theirs: Stream) -> None:
    """Whatever takes the bytes, and in whatever pieces they come, none is lost or doubled."""
    chance = random.Random(4)
    data = bytes(chance.choice(b"abcdefgh\n") for _ in range(60_000))
    sending = await started(_send_in_pieces(ours, data, chance))
    got = bytearray()
    with raises(EndOfStream, "the end"):
        while True:
            got += await _any_receive(theirs, chance, len(data) - len(got))
    await sending
    same(bytes(got), data, "all that was received")


@on_a_pair
async def totals_are_counted(ours: Stream, theirs: Stream) -> None:
    await ours.send(numbered(1000))
    await theirs.receive_exactly(1000)
    await theirs.receive_exactly(7000)
    same((ours.sent_bytes, theirs.received_bytes), (8000, 8000), "(sent, received)")
    await ours.aclose()
    same((ours.sent_bytes, ours.received_bytes), (8000, 0), "(sent, received) of a closed connection")


@on_a_pair
async def a_peer_that_waits_is_not_busy(ours: Stream, theirs: Stream) -> None:
    """Receiving again after each way in which a receive can end."""
    for _ in range(3):
        await ours.send(b"12\n34")
        same(await receive_one(theirs), b"12\n34", "receive")
        waiting = await started(receive_one(theirs))
        waiting.cancel()
        await asyncio.wait([waiting])
        waiting = await started(_until(theirs, b"\n", 4))
        await ours.send(b"12345")
        with raises(PeerViolation, "receive_until"):
            await waiting
        same(await theirs.receive_exactly(5), b"12345", "receive_exactly")


async def _any_receive(stream: Stream, chance: random.Random, left: int) -> bytes:
    match chance.randrange(4):
        case 0:
            return await stream.receive(chance.randint(1, 5000))
        case 1:
            return await stream.receive_exactly(min(chance.randint(0, 3000), left) or 1)
        case 2:
            try:
                return await stream.receive_until(b"\n", max_bytes=chance.randint(1, 60))
            except PeerViolation:
                return await stream.receive(1)
            except EndOfStream:
                return await stream.receive()
        case _:
            return await anext(aiter(stream), b"")


async def _send_in_pieces(stream: Stream, data: bytes, chance: random.Random) -> None:
    at = 0
    while at < len(data):
        size = chance.randint(1, 4000)
        await stream.send(data[at : at + size])
        at += size
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    await stream.send_eof()


async def _send_in_bytes(stream: Stream, data: bytes) -> None:
    for at in range(len(data)):
        await stream.send(data[at : at + 1])
        await turns(2)
    await stream.send_eof()


async def _send_and_end(stream: Stream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()


async def _exactly(stream: Stream, count: int) -> bytes:
    return await stream.receive_exactly(count)


async def _until(stream: Stream, delimiter: bytes, max_bytes: int = 65_536) -> bytes:
    return await stream.receive_until(delimiter, max_bytes=max_bytes)


RULES = (
    receive_gives_at_most_what_was_asked,
    receive_exactly_waits_for_all,
    an_early_end_leaves_the_bytes,
    a_delimiter_may_come_in_parts,
    receive_until_is_bounded,
    another_delimiter_is_searched_from_the_start,
    lines_come_without_their_ends,
    no_line_is_cut,
    too_long_a_line_is_refused,
    kinds_of_receive_mix,
    totals_are_counted,
    a_peer_that_waits_is_not_busy,
)
