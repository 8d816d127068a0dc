"""Who has nothing under way when a service ends."""

from __future__ import annotations

import asyncio

import pytest

from socketkit.uses.mail.resting import Resting
from tests.conftest import Run


async def never() -> bytes:
    await asyncio.sleep(3_600)
    return b""


async def at_once() -> bytes:
    return b"x"


def test_what_comes_is_given(run: Run) -> None:
    async def main() -> None:
        assert await Resting().until(at_once) == b"x"

    run(main())


def test_the_end_wakes_who_rests(run: Run) -> None:
    async def main() -> None:
        resting = Resting()
        waiting = [asyncio.create_task(resting.until(never)) for _ in range(3)]
        await asyncio.sleep(0)
        resting.end()
        assert await asyncio.gather(*waiting) == [None] * 3
        assert await resting.until(at_once) is None
        resting.end()

    run(main())


def test_who_goes_on_is_left_alone_and_cancelling_is_no_end(run: Run) -> None:
    async def main() -> None:
        resting = Resting()
        other = asyncio.create_task(resting.until(never))
        await asyncio.sleep(0)
        other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await other
        both = asyncio.create_task(resting.until(never))
        await asyncio.sleep(0)
        resting.end()
        both.cancel()
        with pytest.raises(asyncio.CancelledError):
            await both

    run(main())
