"""The movers of bytes, each on a pair of ends in this process."""

from __future__ import annotations

import asyncio
import os

from socketkit import bind, connect
from socketkit.inspect.measuring.counting import Incoming, Outgoing
from socketkit.inspect.measuring.flows import (
    receive_chunks,
    receive_messages,
    retransmits,
    send_chunks,
    send_messages,
)
from socketkit.inspect.measuring.plan import Plan
from socketkit.inspect.measuring.protocol import HEADER, MEASURED, PROBE, Batch
from socketkit.messages import Messages
from socketkit.testing import stream_pair
from tests.conftest import Run


async def ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def test_chunks(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (here, there):
            out, came = Outgoing(), Incoming()
            sending = asyncio.create_task(send_chunks(here, out, Plan()))
            receiving = asyncio.create_task(receive_chunks(there, came))
            while came.bytes < 3_000_000:  # the loop goes on meanwhile
                await asyncio.sleep(0)
            await ended(sending, receiving)
            assert out.bytes >= came.bytes
            assert out.retransmits == 0

    run(main())


def test_messages(run: Run) -> None:
    async def main() -> None:
        async with bind("udp4://localhost:0") as there, connect(there.local, Messages) as here:
            await here.send(b"")
            peer = (await there.receive()).peer
            plan, out, came = Plan(message_bytes=100, bits_per_second=2_000_000), Outgoing(), Incoming()
            out.begin()
            there.validate(peer)
            sending = asyncio.create_task(
                send_messages(lambda messages: there.send_many(messages, to=peer), out, plan, Batch(7, 0, 100))
            )
            receiving = asyncio.create_task(receive_messages(here.receive_many, came))
            while came.arrivals.received < 200:
                await asyncio.sleep(0.001)
            await ended(sending, receiving)
            assert came.arrivals.lost() == 0
            assert out.number >= 200

    run(main())


def test_strangers_messages_do_not_count() -> None:
    flow = Incoming()
    probe = HEADER.pack(PROBE, MEASURED, 0, 0, 0, 0)
    flow.arrivals.count([b"", b"{}\n", os.urandom(3), probe], 0)
    flow.arrivals.count([bytes(message) for message in Batch(1, 0, 30).stamped(0, 3, MEASURED, 5)], 9)
    assert (flow.arrivals.received, flow.bytes) == (3, 90)


def test_retransmits_are_tcp_s(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (here, _):
            assert retransmits(here) == 0
            await here.aclose()
            assert retransmits(here) == 0

    run(main())
