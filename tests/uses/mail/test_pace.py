"""A client that drips is told apart from one that thinks."""

from __future__ import annotations

import asyncio

import pytest

from socketkit import EndOfStream, Identity, Limits
from socketkit.testing import stream_pair
from socketkit.uses.mail.pace import Pace, TooSlow, first_line, start_tls
from tests.conftest import Run

# Windows so short that a test does not wait, and so slow a rate that any chunk is enough.
FAST = Limits(slow_window_seconds=0.05, slowest_bytes_per_second=1_000)


def test_outside_of_a_message_nothing_is_asked(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            pace = Pace(ours, FAST)
            waiting = asyncio.create_task(pace.receive(inside=False))
            await asyncio.sleep(0.2)  # several windows: what is tested is that nothing happens
            assert not waiting.done()
            await theirs.send(b"x")
            assert await waiting == b"x"

    run(main())


def test_a_drip_is_too_slow(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            pace = Pace(ours, FAST)

            async def drip() -> None:
                while True:
                    await theirs.send(b"x")
                    await asyncio.sleep(0.01)

            dripping = asyncio.create_task(drip())
            with pytest.raises(TooSlow):
                while True:
                    await pace.receive(inside=True)
            dripping.cancel()

    run(main())


def test_who_sends_enough_may_go_on(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            pace = Pace(ours, FAST.replace(slowest_bytes_per_second=1))

            async def send() -> None:
                for _ in range(20):
                    await theirs.send(b"x" * 100)
                    await asyncio.sleep(0.01)
                await theirs.send_eof()

            sending = asyncio.create_task(send())
            came = 0
            with pytest.raises(EndOfStream):
                while True:
                    came += len(await pace.receive(inside=True))
            assert came == 2_000
            await sending

    run(main())


def test_the_first_line_is_one_and_of_a_long_one_some(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            await theirs.send(b"EHLO x\r\nMAIL")
            assert await first_line(ours, 100) == b"EHLO x\r\n"
            await theirs.send(b"x" * 200)
            assert (await first_line(ours, 100)).startswith(b"MAILx")

    run(main())


def test_a_handshake_that_does_not_come_is_too_slow(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, _):
            with pytest.raises(TooSlow):
                await start_tls(ours, Limits(first_message_seconds=0.05), Identity.new())

    run(main())
