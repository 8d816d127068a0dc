"""Moves the bytes of one flow: large chunks on a stream, batches of messages elsewhere, paced if a rate is asked for.

Each runs until it is cancelled. None does work for each message in Python.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from typing import TYPE_CHECKING, Any

from ...errors import ClosedConnection
from .pacing import Pacer
from .protocol import Batch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ...connection import Stream
    from .counting import Incoming, Outgoing
    from .plan import Plan


async def send_chunks(stream: Stream, flow: Outgoing, plan: Plan) -> None:
    """Send chunks of `plan.message_bytes` on a stream."""
    chunk = os.urandom(plan.message_bytes)
    flow.count_by(lambda: stream.sent_bytes, lambda: retransmits(stream))
    turn = _Turn(Pacer(plan.bits_per_second, len(chunk), 1, time.monotonic_ns()))
    while True:
        await turn.due()
        await stream.send(chunk)


async def receive_chunks(stream: Stream, flow: Incoming) -> None:
    """Receive whatever comes on a stream, and count it."""
    flow.count_by(lambda: stream.received_bytes)
    receive = stream.receive
    while True:
        await receive(RECEIVED_BYTES)


async def send_messages(
    send_many: Callable[[Sequence[memoryview]], Awaitable[None]], flow: Outgoing, plan: Plan, batch: Batch
) -> None:
    """Send numbered messages in batches, by a call that takes all of a batch or none."""
    turn = _Turn(Pacer(plan.bits_per_second, plan.message_bytes, batch.most, time.monotonic_ns()))
    while True:
        count = await turn.due()
        phase, number = flow.phase, flow.number
        await send_many(batch.stamped(number, count, phase, time.time_ns()))
        flow.sent(phase, count, count * plan.message_bytes)


async def receive_messages(receive_many: Callable[[int], Awaitable[list[bytes]]], flow: Incoming) -> None:
    """Receive numbered messages, and count them; what comes without their header is somebody else's, or late."""
    while True:
        flow.arrivals.count(await receive_many(RECEIVED_AT_ONCE), time.time_ns())


class _Turn:
    """Says when a sender is next, and lets everybody else have a turn now and then.

    A send that never waits would keep the loop for itself: the kernel takes what a fast peer takes away.
    """

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._yielded_ns = time.monotonic_ns()

    async def due(self) -> int:
        """How many messages to send, once there is one."""
        now_ns = time.monotonic_ns()
        if now_ns - self._yielded_ns > TURN_NS:
            await asyncio.sleep(0)
            now_ns = self._yielded_ns = time.monotonic_ns()
        while not (count := self._pacer.due(now_ns)):
            await asyncio.sleep(max(self._pacer.wait_seconds(now_ns), LEAST_SLEEP_SECONDS))
            now_ns = self._yielded_ns = time.monotonic_ns()
        return count


def retransmits(connection: Any) -> int:
    """How many segments the kernel has sent again (TCP_INFO, man 7 tcp); 0 where the carrier knows no such thing."""
    import socket

    if not connection._endpoint.carrier.startswith(("tcp", "tls")):
        return 0
    try:
        sock = socket.socket(fileno=os.dup(connection.fileno()))
        with sock:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    except (OSError, ClosedConnection):
        return 0
    return int(struct.unpack_from("I", info, TOTAL_RETRANS_AT)[0])


TURN_NS = 1_000_000
LEAST_SLEEP_SECONDS = 0.001
RECEIVED_AT_ONCE = 256
RECEIVED_BYTES = 131_072  # what iperf3 takes at a time; more falls out of a core's cache
TOTAL_RETRANS_AT = 100  # struct tcp_info, linux/tcp.h
