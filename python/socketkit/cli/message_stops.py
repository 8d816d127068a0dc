"""What the tour does with sockets that keep borders: small messages there and back, then many at once, then the end.

Datagrams may get lost even on this machine when too many wait to be read, so no more are under way than a socket keeps.
Below the transport there is no echo of ours: the kernel answers pings, and gives back what was sent to this machine.
"""

from __future__ import annotations

import statistics
import time
from struct import Struct
from typing import TYPE_CHECKING

from ..errors import EndOfStream
from ..messages import Messages
from ..verbs import bind, connect, serve
from .arguments import described
from .visits import BULK_BYTES, MESSAGE_BYTES, ROUND_TRIPS, require

if TYPE_CHECKING:
    from collections.abc import Callable

    from .visits import Visit


async def meet_connected(visit: Visit, *, halves: bool = True) -> None:
    """A listener and a connection to it. `halves`: who has ended his half still receives."""

    async def answer(messages: Messages) -> None:
        visit.peer = described(messages.peer)
        count = 0
        try:
            while True:
                batch = await messages.receive_many()
                count += len(batch)
                await messages.send_many(batch)
        except EndOfStream:
            if halves:
                await messages.send(b"%d messages" % count)

    async with serve(visit.endpoint, answer, Messages) as server:
        visit.endpoint = str(server.local)
        async with connect(server.local, Messages) as messages:
            visit.encrypted = messages.encrypted
            visit.cipher, visit.key_exchange = messages.ciphers or (None, None)
            await _use(messages, visit, RECORD_BYTES)
            sent = messages.sent_messages
            await messages.send_eof()
            if halves:
                require(await messages.receive() == b"%d messages" % sent, "the other end counted another number")
            require(await _has_ended(messages), "the other end did not end")


async def meet_ended(visit: Visit) -> None:
    """The same where an end ends both ways."""
    await meet_connected(visit, halves=False)


async def meet_bound(visit: Visit) -> None:
    """A socket that hears from anybody, and another one that is connected to it."""
    import asyncio

    async def answer() -> None:
        while True:
            batch = await datagrams.receive_many()
            visit.peer = str(batch[0].peer)
            await datagrams.send_many(batch)

    async with bind(visit.endpoint) as datagrams:
        visit.endpoint = str(datagrams.local)
        answering = asyncio.create_task(answer())
        try:
            async with connect(datagrams.local, Messages) as messages:
                visit.encrypted = messages.encrypted
                await _use(messages, visit, DATAGRAM_BYTES)
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
        require(not datagrams.dropped, "datagrams were lost on this machine")


async def meet_pings(visit: Visit) -> None:
    """The kernel answers (RFC 792), and its answer has in it what was asked."""
    async with connect(visit.endpoint, Messages) as messages:
        visit.encrypted, visit.peer = False, "the kernel"
        visit.latency_seconds = await _round_trips(messages, visit, _echo_request, ECHO_HEADER.size)


async def meet_packets(visit: Visit) -> None:
    """What is sent to this machine comes back as what it has received."""
    async with connect(visit.endpoint, Messages) as messages:
        visit.encrypted, visit.peer = False, "itself"
        visit.latency_seconds = await _round_trips(messages, visit, _numbered)


async def meet_frames(visit: Visit) -> None:
    """The frames of a ping, out and back, as they pass the interface."""
    async with bind(visit.endpoint) as frames:
        visit.endpoint, visit.encrypted, visit.peer = str(frames.local), False, "who sends here"
        async with connect("udp4://127.0.0.1:9", Messages) as marked:
            # Whether somebody is there does not matter: the frame passes by.
            message = _numbered(0)
            begun = time.perf_counter()
            await marked.send(message)
            while True:
                frame = (await frames.receive()).data
                visit.received_bytes += len(frame)
                if frame.endswith(message):
                    break
            visit.latency_seconds = time.perf_counter() - begun
            visit.sent_bytes = len(message)


async def _use(messages: Messages, visit: Visit, size: int) -> None:
    visit.latency_seconds = await _round_trips(messages, visit, _numbered)
    size = min(size, messages.max_message_bytes, VSOCK_BYTES // UNDER_WAY if visit.endpoint.startswith(VSOCK) else size)
    block = [bytes([number % 256]) * size for number in range(UNDER_WAY)]
    rounds = BULK_BYTES // (size * UNDER_WAY)
    begun = time.perf_counter()
    for _ in range(rounds):
        await messages.send_many(block)
        back: list[bytes] = []
        while len(back) < UNDER_WAY:
            back += await messages.receive_many()
        require(back == block, "messages came back changed")
        visit.sent_bytes += size * UNDER_WAY
        visit.received_bytes += size * UNDER_WAY
    visit.bytes_per_second = 2 * rounds * UNDER_WAY * size / (time.perf_counter() - begun)


async def _round_trips(messages: Messages, visit: Visit, question: Callable[[int], bytes], kept_from: int = 0) -> float:
    """The median of many, in seconds. `kept_from`: where in an answer stands what was sent."""
    taken = []
    for number in range(ROUND_TRIPS):
        message = question(number)
        begun = time.perf_counter()
        await messages.send(message)
        back = await messages.receive()
        taken.append(time.perf_counter() - begun)
        require(back[kept_from:] == message[kept_from:], "a message came back changed")
        visit.sent_bytes += len(message)
        visit.received_bytes += len(back)
    return statistics.median(taken)


async def _has_ended(messages: Messages) -> bool:
    try:
        await messages.receive()
    except EndOfStream:
        return True
    return False


def _numbered(number: int) -> bytes:
    return number.to_bytes(MESSAGE_BYTES, "big")


def _echo_request(number: int) -> bytes:
    """RFC 792, with the checksum that only a raw socket needs (RFC 1071); a ping socket has the kernel write it."""
    data = _numbered(number)
    words = Struct(f">{(ECHO_HEADER.size + len(data)) // 2}H")
    total = sum(words.unpack(ECHO_HEADER.pack(ECHO_REQUEST, 0, 0, 0, number) + data))
    total = (total & 0xFFFF) + (total >> 16)
    return ECHO_HEADER.pack(ECHO_REQUEST, 0, ~(total + (total >> 16)) & 0xFFFF, 0, number) + data


RECORD_BYTES = 16_384
DATAGRAM_BYTES = 1_200  # what passes everywhere
UNDER_WAY = 32
# The kernel cuts a record for which the peer has too little room (docs/seqpacket.md).
VSOCK, VSOCK_BYTES = "seqpacket+vsock:", 131_072
ECHO_REQUEST = 8
ECHO_HEADER = Struct(">BBHHH")
