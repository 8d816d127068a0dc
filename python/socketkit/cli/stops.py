"""The stops of the tour: what is opened at each, and what is done with it.

A new type of socket is a line in `STOPS`. At each stop a server and a connection to it, both in this process, do what
people do with sockets: small messages there and back (latency), much data both ways at once (rate), half-close, a last
word, the end. Everything that arrives is compared with what was sent.
"""

from __future__ import annotations

import asyncio
import errno
import os
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import EndOfStream, SocketError, Unsupported
from ..verbs import connect, serve
from .arguments import described

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from ..connection import Stream


@dataclass(frozen=True)
class Stop:
    """`address` may contain {folder} (empty) and {process}; `absent`: the errors of a machine that lacks it."""

    name: str
    address: str
    absent: Mapping[int, str] = field(default_factory=dict)


STOPS: Sequence[Stop] = (
    Stop("TCP over IPv4", "tcp4://localhost:0", {errno.EADDRNOTAVAIL: "no IPv4 on this machine"}),
    Stop(
        "TCP over IPv6",
        "tcp6://localhost:0",
        {errno.EAFNOSUPPORT: "no IPv6 on this machine", errno.EADDRNOTAVAIL: "no IPv6 on this machine's loopback"},
    ),
    Stop("TLS over TCP", "tls://localhost:0"),
    Stop("Unix, path", "unix://{folder}/tour"),
    Stop("Unix, abstract name", "unix://@tour-{process}"),
    Stop("TLS over Unix", "tls+unix://{folder}/tls"),
    Stop("in the process", "mem://tour"),
)


@dataclass
class Visit:
    """What is known of a stop so far."""

    stop: str
    endpoint: str
    """The address to open, then the one that was opened."""
    outcome: Literal["waiting", "running", "works", "absent", "failed"] = "waiting"
    reason: str | None = None
    peer: str | None = None
    encrypted: bool | None = None
    cipher: str | None = None
    key_exchange: str | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    bytes_per_second: float | None = None
    latency_seconds: float | None = None


async def see(stop: Stop, visit: Visit) -> None:
    """Make the visit, noting in it what is learnt as it is learnt. Whatever fails is its outcome, never raised."""
    visit.outcome = "running"
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await _meet(visit)
        visit.outcome = "works"
    except Unsupported as lack:
        visit.outcome, visit.reason = "absent", lack.reason
    except SocketError as failure:
        absent = stop.absent.get(failure.errno or 0)
        visit.outcome, visit.reason = ("absent", absent) if absent else ("failed", str(failure))
    except TimeoutError:
        visit.outcome, visit.reason = "failed", f"not done within {STOP_SECONDS:g} s"
    except Exception as failure:  # one broken type must not hide the others
        visit.outcome, visit.reason = "failed", str(failure) or repr(failure)


async def _meet(visit: Visit) -> None:
    async def answer(stream: Stream) -> None:
        visit.peer = described(stream.peer)
        await _answer(stream)

    async with serve(visit.endpoint, answer) as server:
        visit.endpoint = str(server.local)
        async with connect(server.local) as stream:
            visit.encrypted = stream.encrypted
            visit.cipher, visit.key_exchange = stream.ciphers or (None, None)
            visit.latency_seconds = await _round_trips(stream, visit)
            visit.bytes_per_second = await _bulk(stream, visit)
            await stream.send_eof()
            await _last_word(stream, visit)


async def _answer(stream: Stream) -> None:
    """The other end: an echo, which says behind the peer's end how much it was."""
    count = 0
    async for chunk in stream:
        count += len(chunk)
        await stream.send(chunk)
    await stream.send(b"%d bytes\n" % count)


async def _round_trips(stream: Stream, visit: Visit) -> float:
    """The median of many, in seconds."""
    taken = []
    for number in range(ROUND_TRIPS):
        message = number.to_bytes(MESSAGE_BYTES, "big")
        begun = time.perf_counter()
        await stream.send(message)
        answer = await stream.receive_exactly(MESSAGE_BYTES)
        taken.append(time.perf_counter() - begun)
        _require(answer == message, "a message came back changed")
        _count(stream, visit)
    return statistics.median(taken)


async def _bulk(stream: Stream, visit: Visit) -> float:
    """Bytes per second, both ways together."""
    block = os.urandom(BLOCK_BYTES)

    async def send() -> None:
        for _ in range(BLOCKS):
            await stream.send(block)

    begun = time.perf_counter()
    sending = asyncio.create_task(send())
    try:
        await _receive_blocks(stream, block, visit)
        await sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return 2 * BLOCKS * BLOCK_BYTES / (time.perf_counter() - begun)


async def _receive_blocks(stream: Stream, block: bytes, visit: Visit) -> None:
    cyclic, position = block + block, 0
    while position < BLOCKS * BLOCK_BYTES:
        chunk = await stream.receive(BLOCK_BYTES)
        start = position % BLOCK_BYTES
        _require(chunk == cyclic[start : start + len(chunk)], "bulk data came back changed")
        position += len(chunk)
        _count(stream, visit)


async def _last_word(stream: Stream, visit: Visit) -> None:
    """What the other end says after our half-close, and its end."""
    word = await stream.receive_until(b"\n")
    _require(word == b"%d bytes\n" % stream.sent_bytes, "the other end counted another number of bytes")
    _count(stream, visit)
    try:
        await stream.receive()
    except EndOfStream:
        return
    raise TourError("the other end did not end")


def _count(stream: Stream, visit: Visit) -> None:
    visit.sent_bytes, visit.received_bytes = stream.sent_bytes, stream.received_bytes


def _require(true: bool, otherwise: str) -> None:
    if not true:
        raise TourError(otherwise)


class TourError(Exception):
    """A socket did not do what it must."""


BULK_BYTES = 16_777_216
BLOCK_BYTES = 262_144
BLOCKS = BULK_BYTES // BLOCK_BYTES
ROUND_TRIPS = 300
MESSAGE_BYTES = 64
STOP_SECONDS = 5.0
