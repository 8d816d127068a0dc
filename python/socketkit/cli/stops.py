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
from .message_stops import meet_bound, meet_connected, meet_ended, meet_frames, meet_packets, meet_pings
from .use_stops import meet_mail, meet_web
from .visits import BULK_BYTES, MESSAGE_BYTES, ROUND_TRIPS, TourError, Visit, require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ..connection import Stream

STREAMS = "streams: bytes in order, without borders"
DATAGRAMS = "datagrams: messages that may get lost"
PACKETS = "sequenced packets: messages in order, none lost"
RAW = "raw sockets: packets and frames"
USES = "uses: what people do with sockets"

# Without CAP_NET_RAW; the error has the remedy.
NOT_PERMITTED: Mapping[int, str | None] = {errno.EPERM: None, errno.EACCES: None}


@dataclass(frozen=True)
class Stop:
    """`address` may contain {folder} (empty) and {process}; `meet`: what is done there, if it is not with streams.

    `absent`: the errors of a machine that lacks it, with what to say of it if the error does not say enough.
    """

    name: str
    address: str
    absent: Mapping[int, str | None] = field(default_factory=dict)
    meet: Callable[[Visit], Awaitable[None]] | None = None
    group: str = STREAMS


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
    Stop("virtual machines", "vsock://1:0"),
    Stop("UDP", "udp4://127.0.0.1:0", meet=meet_bound, group=DATAGRAMS),
    Stop("Unix datagrams", "dgram+unix://{folder}/dgram", meet=meet_bound, group=DATAGRAMS),
    Stop("Unix, sequenced packets", "seqpacket+unix://{folder}/seq", meet=meet_connected, group=PACKETS),
    Stop("records over TLS", "seqpacket+tls://localhost:0", meet=meet_connected, group=PACKETS),
    Stop("records over TCP", "seqpacket+tcp://localhost:0", meet=meet_connected, group=PACKETS),
    Stop("SCTP", "sctp://localhost:0", meet=meet_ended, group=PACKETS),
    Stop("virtual machines, sequenced packets", "seqpacket+vsock://1:0", meet=meet_connected, group=PACKETS),
    Stop("pings", "icmp://127.0.0.1", NOT_PERMITTED, meet_pings, RAW),
    Stop("IP packets", "raw+ip://127.0.0.1?proto=253", NOT_PERMITTED, meet_packets, RAW),  # for experiments, RFC 3692
    Stop("Ethernet frames", "raw+ethernet://lo?proto=ip", NOT_PERMITTED, meet_frames, RAW),
    Stop("web: a page and a file fetched", "tls://localhost:0?public=yes&alpn=http/1.1", meet=meet_web, group=USES),
    Stop("mail: caught as programs send it", "tls://localhost:0", meet=meet_mail, group=USES),
)


async def see(stop: Stop, visit: Visit) -> None:
    """Make the visit, noting in it what is learnt as it is learnt. Whatever fails is its outcome, never raised."""
    visit.outcome = "running"
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await (stop.meet or _meet)(visit)
        visit.outcome = "works"
    except Unsupported as lack:
        visit.outcome, visit.reason = "absent", lack.reason
    except SocketError as failure:
        number = failure.errno or 0
        if number in stop.absent:
            visit.outcome, visit.reason = "absent", stop.absent[number] or failure.reason
        else:
            visit.outcome, visit.reason = "failed", str(failure)
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
        require(answer == message, "a message came back changed")
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
        require(chunk == cyclic[start : start + len(chunk)], "bulk data came back changed")
        position += len(chunk)
        _count(stream, visit)


async def _last_word(stream: Stream, visit: Visit) -> None:
    """What the other end says after our half-close, and its end."""
    word = await stream.receive_until(b"\n")
    require(word == b"%d bytes\n" % stream.sent_bytes, "the other end counted another number of bytes")
    _count(stream, visit)
    try:
        await stream.receive()
    except EndOfStream:
        return
    raise TourError("the other end did not end")


def _count(stream: Stream, visit: Visit) -> None:
    visit.sent_bytes, visit.received_bytes = stream.sent_bytes, stream.received_bytes


BLOCK_BYTES = 262_144
BLOCKS = BULK_BYTES // BLOCK_BYTES
STOP_SECONDS = 5.0
